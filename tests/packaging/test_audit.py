"""`make audit`: what is known fails, and that nobody could be asked is said."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KNOWN = {"name": "old", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
CLEAN = {"name": "good", "version": "2.0", "vulns": []}
UNKNOWN = {"name": "private", "skip_reason": "Dependency not found on PyPI"}
# Stands in for the real one, which needs the network: writes the report that the variable holds.
FAKE = """
import os, sys
if report := os.environ.get("REPORT"):
    open(sys.argv[sys.argv.index("--output") + 1], "w").write(report)
else:
    sys.exit("ConnectionError: no route to host")
"""


@pytest.mark.parametrize(
    ("pins", "code", "said"),
    [
        ([KNOWN, CLEAN], 1, "old 1.0: PYSEC-1, mended in 1.1"),
        ([CLEAN, UNKNOWN], 0, "1 of 2 packages asked about, 0 known"),
        ([UNKNOWN], 0, "skipped"),
        (None, 0, "nobody could be asked about vulnerabilities: skipped"),
    ],
)
def test_what_is_known_fails(tmp_path: Path, pins: list[dict[str, Any]] | None, code: int, said: str) -> None:
    """A known vulnerability ends with 1 and a line about it; that nobody could be asked ends with 0, and is said.

    What is asked about is all that gets into the image, builds it or tests it.
    """
    (tmp_path / "pip_audit").mkdir()
    (tmp_path / "pip_audit" / "__init__.py").touch()
    (tmp_path / "pip_audit" / "__main__.py").write_text(FAKE)
    report = "" if pins is None else json.dumps({"dependencies": pins})

    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "audit"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "REPORT": report},
    )

    assert done.returncode == code, done.stderr
    assert said in done.stdout
    asked = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert {f"requirements-{lock}.lock" for lock in ("image", "build", "sbom", "dev")} == asked
