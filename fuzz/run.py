"""`python -m fuzz.run TARGET SECONDS FOLDER`: one target under atheris. libFuzzer ends the process."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["clerksync_server", "fuzz", "svix"]):
    from clerksync_server.database.migrate import migrate
    from fuzz import decoder, grpc_port, http_front, signatures

from fuzz.inputs import CORPUS

_LONGEST_BYTES = 16 * 1024
_HANGS_AFTER_S = 20
_MAY_HOLD_MB = 1024
_PURE: dict[str, Callable[[bytes], None]] = {"decoder": decoder.target, "signatures": signatures.target}


def main() -> None:
    """Never returns."""
    name, seconds, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    corpus, findings = folder / "corpus", folder / "findings"
    for made in (corpus, findings):
        made.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={findings}/",
        f"-max_len={_LONGEST_BYTES}",
        f"-timeout={_HANGS_AFTER_S}",
        f"-rss_limit_mb={_MAY_HOLD_MB}",
        "-print_final_stats=1",
    ]
    if name in _PURE:
        _fuzz(_PURE[name], options, corpus, CORPUS / name)
        return
    dsn = os.environ["FUZZ_DATABASE_URL"]
    asyncio.run(migrate(dsn))
    with http_front.opened(dsn) if name == "http_front" else grpc_port.opened(dsn, _transport()) as target:
        _fuzz(target, options, corpus, CORPUS / name)


def _transport() -> str:
    return os.environ.get("CLERKSYNC_GRPC_TRANSPORT") or "grpcio"


def _fuzz(target: Callable[[bytes], None], options: list[str], *corpora: Path) -> None:
    atheris.Setup([sys.argv[0], *options, *map(str, corpora)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
