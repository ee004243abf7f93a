"""Where inputs are kept: the small corpus that is committed, and what runs add."""

from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
"""A folder for each target."""
TARGETS = ("decoder", "signatures", "http_front", "grpc_port")


def inputs_of(target: str) -> list[Path]:
    """The committed inputs of a target, in a fixed order."""
    return sorted(path for path in (CORPUS / target).iterdir() if path.is_file())
