"""What may carry the calls of SyncService. `native` is skipped where its extra is not installed.

A test that takes `transport` is parametrized with TRANSPORTS to run with each. All others run with one, which
`pytest --transport` chooses; whatever starts a SyncService, here or as a process, finds it in the environment.
"""

from importlib.util import find_spec

import pytest

VARIABLE = "CLERKSYNC_GRPC_TRANSPORT"
NAMES = ("grpcio", "native")
HAS_NATIVE = find_spec("pygrpc_native") is not None
NATIVE = pytest.param(
    "native",
    marks=pytest.mark.skipif(not HAS_NATIVE, reason="pygrpc-native is not installed: the extra `native` has it"),
)
TRANSPORTS = ["grpcio", NATIVE]
