"""What a sibling service imports: the generated stubs of the gRPC contract, in ``clerksync.v1``.

This package must stay importable without the server's dependencies.
"""
