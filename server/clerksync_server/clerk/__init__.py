"""What Clerk and Svix send: signatures, bodies, and the facts in them."""
