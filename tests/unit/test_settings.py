"""Settings: their defaults, what can be set, and that all problems are told at once, without a value."""

from pathlib import Path
from typing import Any

import pytest

from clerksync_server.settings import ENVIRONMENT_NAMES, Settings, load_settings, types
from clerksync_server.settings.types import Address

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MARK = "hunter2"
"""Part of every value that must not be repeated."""

LISTENERS = ["CLERKSYNC_GRPC_LISTEN", "CLERKSYNC_HTTP_LISTEN", "CLERKSYNC_OPS_LISTEN"]


def test_the_defaults() -> None:
    """An empty environment makes settings that work on one machine."""
    defaults = load_settings()
    shown = {ENVIRONMENT_NAMES[name]: getattr(defaults, name) for name in Settings.model_fields}

    assert {
        "DATABASE_URL": None,
        "CLERKSYNC_DATABASE_DIRECT_URL": None,
        "CLERK_WEBHOOK_SECRET": (),
        "CLERKSYNC_QUARANTINE_KEY": (),
        "CLERK_INSTANCE_ID": None,
        "CLERKSYNC_GRPC_LISTEN": ("127.0.0.1", 50051),
        "CLERKSYNC_GRPC_TRANSPORT": "grpcio",
        "CLERKSYNC_POLICY_FILE": None,
        "CLERKSYNC_TOKENS_FILE": None,
        "CLERKSYNC_REFLECTION": "operators",
        "CLERKSYNC_GRPC_TLS_CERT": None,
        "CLERKSYNC_GRPC_TLS_KEY": None,
        "CLERKSYNC_GRPC_TLS_CLIENT_CA": None,
        "CLERKSYNC_GRPC_PLAINTEXT": False,
        "CLERKSYNC_HTTP_LISTEN": ("127.0.0.1", 8080),
        "CLERKSYNC_HTTP_MAX_CONNECTIONS": 1000,
        "CLERKSYNC_OPS_LISTEN": ("127.0.0.1", 9090),
        "CLERKSYNC_SERVICE_TARGET": "127.0.0.1:50051",
        "CLERKSYNC_SERVICE_TLS_CA": None,
        "CLERKSYNC_SERVICE_TLS_CERT": None,
        "CLERKSYNC_SERVICE_TLS_KEY": None,
        "CLERKSYNC_SERVICE_TLS_NAME": None,
        "CLERKSYNC_SERVICE_TOKEN_FILE": None,
        "CLERKSYNC_DATABASE_POOL_SIZE": 8,
        "CLERK_JWT_KEY": None,
        "CLERKSYNC_CLERK_JWKS": None,
        "CLERKSYNC_CLERK_ISSUER": None,
        "CLERKSYNC_AUTHORIZED_PARTIES": (),
        "CLERKSYNC_KUBERNETES_ISSUER": None,
        "CLERKSYNC_KUBERNETES_AUDIENCE": "clerksync",
        "CLERKSYNC_KUBERNETES_JWKS": None,
        "CLERKSYNC_KUBERNETES_CA": None,
        "CLERKSYNC_KUBERNETES_TOKEN_FILE": None,
        "CLERKSYNC_MAX_TOKEN_AGE": 60,
        "CLERKSYNC_TOMBSTONE_RETENTION_DAYS": 90,
        "CLERKSYNC_LEDGER_RETENTION_DAYS": 90,
        "CLERKSYNC_SHUTDOWN_GRACE": 10.0,
        "CLERKSYNC_LOG_LEVEL": "info",
        "CLERKSYNC_LOG_FORMAT": None,
        "CLERKSYNC_DATA_DIR": Path(".clerksync"),
    } == shown
    assert defaults.target == "127.0.0.1:50051"


@pytest.mark.parametrize("name", ENVIRONMENT_NAMES.values())
def test_an_empty_variable_is_not_set(name: str, load: Any) -> None:
    """Compose files and charts set what is not wanted to the empty text."""
    assert load_settings() == load(**{name: ""})


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("CLERK_WEBHOOK_SECRETS", "CLERK_WEBHOOK_SECRET"),
        ("CLERKSYNC_HTTP_LISTENS", "CLERKSYNC_HTTP_LISTEN"),
        ("CLERKSYNC_LOGLEVEL", "CLERKSYNC_LOG_LEVEL"),
    ],
)
def test_a_misspelt_variable_is_told(misspelt: str, meant: str, problems: Any) -> None:
    """What is nearly a variable of ours would be passed over in silence, so it is a problem."""
    assert [f"{misspelt}: is no setting; is {meant} meant?"] == problems(**{misspelt: MARK})


@pytest.mark.parametrize(
    "name",
    ["CLERKSYNC_SERVICE_HOST", "CLERKSYNC_SERVICE_PORT", "CLERKSYNC_SERVICE_PORT_GRPC", "CLERKSYNC_PORT_50051_TCP"],
)
def test_what_kubernetes_adds_is_no_misspelling(name: str, load: Any) -> None:
    """It makes variables of the names of Services, and ours may well be called clerksync."""
    assert load_settings() == load(**{name: MARK})


def test_names_are_read_as_they_are_written(load: Any) -> None:
    """A variable in small letters is another variable."""
    assert load(clerk_instance_id="ins_1").instance_id is None


@pytest.mark.parametrize("name", LISTENERS)
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("localhost:65535", ("localhost", 65535)),
        (":8080", ("0.0.0.0", 8080)),
        ("[::1]:8080", ("::1", 8080)),
        ("[::]:8080", ("::", 8080)),
        ("[fe80::1%eth0]:8080", ("fe80::1%eth0", 8080)),
    ],
)
def test_where_to_listen(name: str, text: str, address: tuple[str, int], load: Any) -> None:
    """A host and a port; IPv6 in brackets; without a host every interface."""
    field = next(field for field, variable in ENVIRONMENT_NAMES.items() if variable == name)

    assert address == getattr(load(**{name: text}), field)


@pytest.mark.parametrize("name", LISTENERS)
@pytest.mark.parametrize(
    "text",
    [
        "8080",
        "127.0.0.1",
        "h:",
        "h:-1",
        "h:65536",
        "h:8_0",
        "h:8.0",
        "h:٣",
        "h: 80",
        "h:80 ",
        "::1:80",
        "[::1:80",
        "[::1]",
    ],
)
def test_where_nobody_can_listen(name: str, text: str, problems: Any) -> None:
    """Anything else is told with an example of what is right."""
    [problem] = problems(**{name: text})

    assert problem.startswith(f"{name}: ")
    assert "[::1]:8080" in problem


@pytest.mark.parametrize(
    ("address", "text", "reachable"),
    [
        (Address("127.0.0.1", 1), "127.0.0.1:1", "127.0.0.1:1"),
        (Address("0.0.0.0", 1), "0.0.0.0:1", "127.0.0.1:1"),
        (Address("::", 1), "[::]:1", "[::1]:1"),
        (Address("::1", 1), "[::1]:1", "[::1]:1"),
        (Address("example", 1), "example:1", "example:1"),
    ],
)
def test_an_address_as_text(address: Address, text: str, reachable: str) -> None:
    """IPv6 is written in brackets, and every interface is reached by way of the loopback."""
    assert text == str(address)
    assert reachable == str(address.reachable())


@pytest.mark.parametrize(
    ("variables", "target"),
    [
        ({"CLERKSYNC_GRPC_LISTEN": "0.0.0.0:5000"}, "127.0.0.1:5000"),
        ({"CLERKSYNC_GRPC_LISTEN": "[::]:5000"}, "[::1]:5000"),
        ({"CLERKSYNC_SERVICE_TARGET": "dns:///clerksync:5000"}, "dns:///clerksync:5000"),
        ({"CLERKSYNC_GRPC_LISTEN": ":1", "CLERKSYNC_SERVICE_TARGET": "127.0.0.1:50051"}, "127.0.0.1:50051"),
        ({"CLERKSYNC_GRPC_LISTEN": ":1", "CLERKSYNC_SERVICE_TARGET": ""}, "127.0.0.1:1"),
    ],
)
def test_where_the_service_is_found(variables: dict[str, str], target: str, load: Any) -> None:
    """As set; else where this environment has it listen."""
    assert target == load(**variables).target


def test_every_problem_is_told_at_once(problems: Any) -> None:
    """Whoever starts it learns everything that is wrong in one go: a line for each variable, and no value of it."""
    wrong = {
        "CLERKSYNC_DATABASE_DIRECT_URL": MARK,
        "CLERK_WEBHOOK_SECRET": f"{SECRET},{MARK}",
        "CLERKSYNC_QUARANTINE_KEY": f"{MARK},",
        "CLERKSYNC_GRPC_LISTEN": MARK,
        "CLERKSYNC_HTTP_LISTEN": f"{MARK}:port",
        "CLERKSYNC_OPS_LISTEN": f"{MARK}:99999",
        "CLERKSYNC_DATABASE_POOL_SIZE": MARK,
        "CLERKSYNC_MAX_TOKEN_AGE": "0",
        "CLERKSYNC_TOMBSTONE_RETENTION_DAYS": "1",
        "CLERKSYNC_LEDGER_RETENTION_DAYS": "4000",
        "CLERKSYNC_SHUTDOWN_GRACE": "-1",
        "CLERKSYNC_LOG_LEVEL": MARK,
        "CLERKSYNC_LOG_FORMAT": MARK,
    }
    told = problems("database_url", **wrong)

    assert sorted([*wrong, "DATABASE_URL"]) == [line.partition(": ")[0] for line in told]
    assert MARK not in "\n".join(told)
    assert SECRET not in "\n".join(told)


@pytest.mark.parametrize(
    "url",
    [
        MARK,
        f"mysql://user:{MARK}@host/db",
        f"http://{MARK}@host/db",
        f"postgresql+asyncpg://user:{MARK}@host/db",
        f"//user:{MARK}@host/db",
        f"postgresql://user:{MARK}\u2100@host/db",
        f"postgresql://user:[{MARK}]@host/db",
        f"postgresql://user:[{MARK}@host/db",
        f"postgresql://user:pw@[{MARK}]/db",
        f"postgresql://user:pa#{MARK}@host/db",
        f"postgresql://user:{MARK}@host:port/db",
        f"postgresql://user:{MARK}@host:99999/db",
        f"postgresql://user:{MARK}@a..b/db",
    ],
)
def test_a_database_url_is_never_repeated(url: str, problems: Any) -> None:
    """It holds a password, so the text tells how one looks instead."""
    assert [
        "DATABASE_URL: expected postgresql://user:password@host:5432/database, with special characters percent-encoded"
    ] == problems(DATABASE_URL=url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_database_url_is_kept_as_it_is(scheme: str, load: Any) -> None:
    """Both spellings are in use, and what comes after them is the driver's affair."""
    url = f"{scheme}://user:p%40ss@host:6543/db?sslmode=require"

    assert url == load("database_url", DATABASE_URL=url).database_url.get_secret_value()


def test_the_direct_url_is_the_other_one_by_default(load: Any) -> None:
    """Without a pooler there is one URL for both."""
    pooled, direct = "postgresql://user@pooler/db", "postgresql://user@host/db"

    assert pooled == load(DATABASE_URL=pooled).direct_dsn
    assert direct == load(DATABASE_URL=pooled, CLERKSYNC_DATABASE_DIRECT_URL=direct).direct_dsn


def test_settings_can_be_shown(load: Any) -> None:
    """No way of printing them shows a secret or a password."""
    url = f"postgresql://user:{MARK}@host/db"
    settings = load(DATABASE_URL=url, CLERKSYNC_DATABASE_DIRECT_URL=url, CLERK_WEBHOOK_SECRET=SECRET)

    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert MARK not in shown
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("CLERKSYNC_DATABASE_POOL_SIZE", 1, 100),
        ("CLERKSYNC_MAX_TOKEN_AGE", 1, 315_360_000),
        ("CLERKSYNC_TOMBSTONE_RETENTION_DAYS", 2, 3650),
        ("CLERKSYNC_LEDGER_RETENTION_DAYS", 2, 3650),
        ("CLERKSYNC_SHUTDOWN_GRACE", 0, 600),
    ],
)
def test_numbers_have_bounds(name: str, low: int, high: int, load: Any, problems: Any) -> None:
    """Both bounds can be set, and what lies beyond them, or is no number, cannot."""
    for value in (low, high):
        load(**{name: str(value)})
    for wrong in (str(low - 1), str(high + 1), "nan", "inf", "many", "1;2"):
        assert [name] == [line.partition(": ")[0] for line in problems(**{name: wrong})]


def test_a_transport_that_is_not_there(monkeypatch: pytest.MonkeyPatch, problems: Any) -> None:
    """A transport that nobody knows, and one whose extra is not installed, are told with what would help."""
    monkeypatch.setattr(types, "find_spec", lambda _name: None)

    [unknown] = problems(CLERKSYNC_GRPC_TRANSPORT="quic")
    [absent] = problems(CLERKSYNC_GRPC_TRANSPORT="native")

    assert unknown.startswith("CLERKSYNC_GRPC_TRANSPORT: ")
    assert "'grpcio' or 'native'" in unknown
    assert absent.startswith("CLERKSYNC_GRPC_TRANSPORT: ")
    assert "pip install 'clerksync[server,native]'" in absent


@pytest.mark.parametrize("name", ["CLERKSYNC_CLERK_JWKS", "CLERKSYNC_KUBERNETES_JWKS"])
@pytest.mark.parametrize(
    "value",
    [
        f"http://{MARK}.example.com/jwks",
        f"https://{MARK}:x@example.com/jwks",
        f"ftp://example.com/{MARK}",
        f"https:///{MARK}",
        f"https://example.com:99999/{MARK}",
        f"https://example.com/#{MARK}",
    ],
)
def test_keys_come_from_a_file_or_a_safe_url(name: str, value: str, problems: Any) -> None:
    """Whoever could change the answer on its way would decide who is let in."""
    told = [problem for problem in problems(**{name: value}) if problem.startswith(f"{name}: expected the path")]

    assert 1 == len(told)
    assert MARK not in told[0]


@pytest.mark.parametrize(
    "value",
    ["/etc/jwks.json", "https://clerk.example.com/.well-known/jwks.json", "http://127.0.0.1:8/x", "http://[::1]/x"],
)
def test_safe_places_of_keys_are_taken(value: str, load: Any) -> None:
    """A path, https anywhere, and http on this machine."""
    assert load(CLERKSYNC_CLERK_JWKS=value).clerk_jwks == value


def test_authorized_parties_are_split(load: Any) -> None:
    """Spaces around the commas do not count."""
    loaded = load(CLERK_JWT_KEY="x", CLERKSYNC_AUTHORIZED_PARTIES="https://a.example.com , https://b.example.com")

    assert loaded.authorized_parties == ("https://a.example.com", "https://b.example.com")


@pytest.mark.parametrize("value", [",", " , ", f"https://{MARK}/"])
def test_parties_that_could_never_match_are_told(value: str, problems: Any) -> None:
    """A list that names nobody is not the same as none, and `azp` has no slash at its end."""
    (told,) = problems(CLERK_JWT_KEY="x", CLERKSYNC_AUTHORIZED_PARTIES=value)

    assert told.startswith("CLERKSYNC_AUTHORIZED_PARTIES: ")
    assert MARK not in told


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("CLERKSYNC_CLERK_ISSUER", "CLERK_JWT_KEY or CLERKSYNC_CLERK_JWKS"),
        ("CLERKSYNC_AUTHORIZED_PARTIES", "CLERK_JWT_KEY or CLERKSYNC_CLERK_JWKS"),
        ("CLERKSYNC_KUBERNETES_ISSUER", "CLERKSYNC_KUBERNETES_JWKS"),
        ("CLERKSYNC_KUBERNETES_JWKS", "CLERKSYNC_KUBERNETES_ISSUER"),
        ("CLERKSYNC_KUBERNETES_CA", "CLERKSYNC_KUBERNETES_JWKS"),
        ("CLERKSYNC_KUBERNETES_TOKEN_FILE", "CLERKSYNC_KUBERNETES_JWKS"),
    ],
)
def test_half_of_a_setting_is_told(name: str, needed: str, problems: Any) -> None:
    """What protects nothing because something else is missing is a mistake, not a default."""
    (told,) = problems(**{name: MARK})

    assert told.startswith(f"{name}: does nothing without {needed}")


@pytest.mark.parametrize(
    "text",
    [
        MARK,
        f"{'A' * 43}",
        f"{'A' * 44}",
        f"{'+' * 43}=",
        f"{'A' * 43}=,{MARK}",
        f"{'A' * 20} {'A' * 23}=",
        ",",
    ],
)
def test_a_quarantine_key_that_is_none_is_told(text: str, problems: Any) -> None:
    """Each has to be 32 bytes in URL-safe base64; the text tells how to make one, and repeats nothing."""
    [problem] = problems(CLERKSYNC_QUARANTINE_KEY=text)

    assert problem.startswith("CLERKSYNC_QUARANTINE_KEY: expected Fernet keys, separated by commas; this makes one: ")
    assert text not in problem or text == ","


def test_quarantine_keys_hide_themselves(load: Any) -> None:
    """They are read in their order, and no representation of the settings shows them."""
    keys = [f"{letter * 43}=" for letter in "AB"]
    settings = load(CLERKSYNC_QUARANTINE_KEY=", ".join(keys))

    assert keys == settings.quarantine_key_texts
    assert keys[0] not in repr(settings) + str(settings) + settings.model_dump_json()
