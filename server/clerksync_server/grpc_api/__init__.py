"""The gRPC face: from protobuf to the use cases and back."""
