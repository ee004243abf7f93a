"""What the fuzzer has found its way with is tried again, on both transports."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from transports import TRANSPORTS

from fuzz import decoder, grpc_port, http_front, signatures
from fuzz.inputs import CORPUS, inputs_of
from fuzz.memory import resident_bytes

ROUNDS = 5
MAY_GROW_BYTES = 24 * 1024 * 1024
"""Allocators and caches settle; what is left beyond is some 60 kB for each input that is replayed."""
PURE = {"decoder": decoder.target, "signatures": signatures.target}


@pytest.mark.parametrize(("name", "path"), [(name, path) for name in PURE for path in inputs_of(name)], ids=str)
def test_replayed(name: str, path: Path) -> None:
    """No input that reached a new place in decoder or signatures raises anything."""
    PURE[name](path.read_bytes())


def test_every_target_has_a_corpus() -> None:
    """A replay of nothing proves nothing."""
    assert {"decoder", "grpc_port", "http_front", "signatures"} == {folder.name for folder in CORPUS.iterdir()}
    assert all(len(inputs_of(folder.name)) >= 10 for folder in CORPUS.iterdir())


def replay(name: str, opened: AbstractContextManager[Callable[[bytes], None]]) -> int:
    """Replays the corpus, once to warm up and then some rounds; by how many bytes the process has grown in these."""
    inputs = [path.read_bytes() for path in inputs_of(name)]
    with opened as target:
        for data in inputs:
            target(data)
        before = resident_bytes()
        for _ in range(ROUNDS):
            for data in inputs:
                target(data)
        return resident_bytes() - before


def test_the_front_stands(database_url: str) -> None:
    """No request that reached a new place of the front is answered by 5xx, hangs, logs a defect, or leaves memory."""
    assert replay("http_front", http_front.opened(database_url)) < MAY_GROW_BYTES


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_port_stands(database_url: str, transport: str) -> None:
    """Nor does garbage on the gRPC port, whatever carries the calls."""
    assert replay("grpc_port", grpc_port.opened(database_url, transport)) < MAY_GROW_BYTES
