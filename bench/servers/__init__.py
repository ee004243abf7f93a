"""What clerksync is measured against, each in a process of its own: bare servers, and first stages of a delivery."""
