"""What may carry the calls of SyncService. `native` is skipped where its extra is not installed."""

from importlib.util import find_spec

import pytest

NATIVE = pytest.param(
    "native",
    marks=pytest.mark.skipif(
        find_spec("pygrpc_native") is None, reason="pygrpc-native is not installed: the extra `native` has it"
    ),
)
TRANSPORTS = ["grpcio", NATIVE]
