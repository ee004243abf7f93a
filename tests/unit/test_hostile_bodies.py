"""Whatever a body holds, it is understood or NotUnderstood, which names the place and never the value."""

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clerksync_server.clerk.events import EVENT_TYPES, ClerkEvent, decode_event
from clerksync_server.clerk.values import NotUnderstood
from clerksync_server.rules.facts import OrganizationMention

AT = 1_700_000_000_000
YEAR_10000 = 253_402_300_800_000
MARK = "s3cr3t"
"""Part of every value that must not be repeated."""


def body_with(place: str, value: Any, event_type: str = "organizationMembership.created") -> bytes:
    """A body that would be understood, but for one place in it."""
    body: dict[str, Any] = {
        "type": event_type,
        "timestamp": AT,
        "instance_id": "ins_1",
        "data": {
            "id": "orgmem_1",
            "role": "org:member",
            "created_at": AT,
            "updated_at": AT,
            "organization": {
                "id": "org_1",
                "name": "A",
                "slug": "a",
                "image_url": "i",
                "created_at": AT,
                "updated_at": AT,
            },
            "public_user_data": {"user_id": "user_1"},
        },
    }
    target = body
    *path, last = place.split(".")
    for key in path:
        target = target[key]
    target[last] = value
    return json.dumps(body).encode()


def decode(body: bytes) -> ClerkEvent:
    return decode_event(body, attempted_at_ms=AT, instance_id="ins_1")


def read(body: bytes) -> ClerkEvent | str:
    """The event, or the reason why it is not understood."""
    try:
        return decode(body)
    except NotUnderstood as error:
        return str(error)


def reason_of(body: bytes) -> str:
    reason = read(body)
    assert isinstance(reason, str)
    return reason


OPTIONAL_TEXTS = ["data.role"] + [f"data.organization.{key}" for key in ("name", "slug", "image_url")]
TIMES = ["timestamp"] + [
    f"data.{prefix}{key}" for prefix in ("", "organization.") for key in ("created_at", "updated_at")
]
IDS = ["data.id", "data.organization.id", "data.public_user_data.user_id"]
OBJECTS = ["data", "data.organization", "data.public_user_data"]
WRONG = {
    "a text": MARK,
    "a list": [MARK],
    "an object": {MARK: MARK},
    "a number": 424242,
    "a truth": True,
    "null": None,
}
WRONG_TYPES = [
    *((place, kind) for place in [*IDS, "type"] for kind in WRONG if kind != "a text"),
    *((place, kind) for place in OPTIONAL_TEXTS for kind in WRONG if kind not in {"a text", "null"}),
    *((place, kind) for place in TIMES for kind in WRONG if kind not in {"a number", "null"}),
    *((place, kind) for place in OBJECTS for kind in WRONG if kind != "an object"),
]


@pytest.mark.parametrize(("place", "kind"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_named_by_its_place(place: str, kind: str) -> None:
    """Whoever reads the ledger learns where to look, and nothing of what stands there."""
    reason = reason_of(body_with(place, WRONG[kind]))

    assert f"{place}`" in reason
    assert MARK not in reason
    assert "424242" not in reason


@pytest.mark.parametrize("place", IDS)
@pytest.mark.parametrize(
    "value", ["", f"{MARK} {MARK}", f"{MARK}\n", f"{MARK}\x00", f"Ü{MARK}", f"{MARK}\x7f", MARK * 43]
)
def test_an_id_that_cannot_be_one(place: str, value: str) -> None:
    """Ids are 1 to 255 printable ASCII characters without spaces."""
    assert (
        reason_of(body_with(place, value))
        == f"{place} is not an id: 1 to 255 printable ASCII characters without spaces"
    )


@pytest.mark.parametrize("place", [*OBJECTS[1:], *IDS, "data", "type"])
def test_what_is_missing_is_named_by_its_place(place: str) -> None:
    """Without it there would be no fact; the text tells which key is missing, and of what."""
    *path, last = place.split(".")
    body = json.loads(body_with(place, None))
    target = body
    for key in path:
        target = target[key]
    del target[last]
    reason = reason_of(json.dumps(body).encode())

    assert f"missing required field `{last}`" in reason
    assert not path or f"`{'.'.join(path)}`" in reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"s3cr3t"',
        b"s3cr3t",
        b"{",
        b'{"type":',
        b'{"type":"user.created","data":{"id":"s3cr3t"',
        b'{"type":"user.created","data":{"id":"s3cr3t"}} s3cr3t',
        b"{'type':'user.created'}",
        b'{"type":"user.created","data":{"id":"s3cr3t"},}',
        b'{"type":"user.created","data":{"id":NaN}}',
        b'\xef\xbb\xbf{"type":"user.created","data":{"id":"s3cr3t"}}',
        b'{"type":"user.created","data":{"id":"\xff s3cr3t"}}',
        b'{"type":"organization.created","data":{"id":"s3cr3t","name":"\xed\xa0\x80"}}',
        b'{"type":"organization.created","data":{"id":"s3cr3t","name":"\\ud800"}}',
        b'{"type":"user.\\ud800","data":{"id":"s3cr3t"}}',
        '{"type":"user.created","data":{"id":"s3cr3t"}}'.encode("utf-16"),
        b"\x00" * 1_000,
        b"\x1f\x8b\x08\x00s3cr3t",
    ],
)
def test_what_is_not_json_in_utf_8(body: bytes) -> None:
    """Broken JSON, other encodings, and halves of surrogate pairs are told as such, without a piece of the body."""
    reason = reason_of(body)

    assert MARK not in reason
    assert reason == "the body is not JSON in UTF-8" or reason.startswith("Expected `object`")


@pytest.mark.parametrize("place", TIMES)
@pytest.mark.parametrize("digits", [16, 19, 20, 39, 308, 309, 400, 4_300, 4_301, 100_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_huge_number_is_not_understood(place: str, digits: int, sign: str) -> None:
    """However many digits a time has, it is too late or too early, and nothing overflows."""
    body = body_with(place, MARK).replace(json.dumps(MARK).encode(), (sign + "9" * digits).encode())
    reason = reason_of(body)

    assert place in reason
    assert "99" not in reason


@pytest.mark.parametrize("number", ["1e309", "-1e309", "1e1000000", "1.0e18", "0.1e99"])
def test_a_huge_float_is_not_understood(number: str) -> None:
    """Nor does a float overflow."""
    assert "timestamp" in reason_of(body_with("timestamp", MARK).replace(json.dumps(MARK).encode(), number.encode()))


@pytest.mark.parametrize("depth", [2_000, 500_000])
@pytest.mark.parametrize(
    ("before", "opening", "closing", "after"),
    [
        ('{"type":"user.created","data":{"id":"u","deep":', "[", "]", "}}"),
        ('{"deep":', '{"a":', "}", ',"type":"user.created","data":{"id":"u"}}'),
        ('{"type":"session.created","data":', "[", "]", "}"),
        ('{"type":"user.created","data":{"id":', "[", "]", "}}"),
        ('{"type":"user.created","data":', '{"id":', "}", "}"),
        ("", "[", "]", ""),
    ],
)
def test_deep_nesting_ends_the_reading(before: str, opening: str, closing: str, after: str, depth: int) -> None:
    """A body that fits the size limit cannot exhaust the stack."""
    told = read(f"{before}{opening * depth}1{closing * depth}{after}".encode())

    assert isinstance(told, ClerkEvent) or len(told) < 200


@pytest.mark.parametrize("event_type", ["user.dele\x00ted", "organization.cre\x00ated", "user\x00.updated", "\x00\x00"])
def test_a_type_with_nul_is_read_without_it(event_type: str) -> None:
    """Postgres refuses NUL, so none may reach the ledger, and none may confuse what the type means."""
    assert event_type.replace("\x00", "") == decode(body_with("type", event_type)).type


@pytest.mark.parametrize("key", ["slug", "image_url"])
def test_nul_is_left_out_of_texts(key: str) -> None:
    """Postgres refuses NUL in texts; a text of nothing else is none."""
    some = decode(body_with(f"data.organization.{key}", "a\x00b\x00")).facts[0]
    nothing_else = decode(body_with(f"data.organization.{key}", "\x00")).facts[0]

    assert getattr(some, key) == "ab"
    assert getattr(nothing_else, key) is None


def test_a_name_of_nothing_but_nul_is_none() -> None:
    """An organization whose name holds nothing readable is a mention; a role of that kind is none."""
    assert decode(body_with("data.organization.name", "\x00")).facts[0] == OrganizationMention("org_1")
    assert getattr(decode(body_with("data.role", "\x00\x00")).facts[-1], "role", "missing") is None


texts = st.text(st.characters(exclude_categories=()), max_size=5).map(lambda text: MARK + text)
numbers = st.integers() | st.integers(-(10**400), 10**400) | st.integers(0, 2 * YEAR_10000) | st.floats()
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts | st.sampled_from(["id", "name"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_not_understood(body: bytes) -> None:
    """Bytes at random never raise anything else."""
    reason_of(body)


@given(anything)
def test_arbitrary_json_is_not_understood(value: Any) -> None:
    """JSON at random never raises anything else, and is never repeated."""
    assert MARK not in reason_of(json.dumps(value).encode())


@given(
    st.sampled_from([*TIMES, *IDS, *OBJECTS, *OPTIONAL_TEXTS, "type", "data.novelty"]),
    anything | numbers,
    st.sampled_from(sorted(EVENT_TYPES)),
)
@settings(max_examples=500)
def test_one_odd_place_is_understood_or_not(place: str, value: Any, event_type: str) -> None:
    """A body that is right but for one place tells facts that Postgres can hold, or is not understood."""
    told = read(body_with(place, value, event_type))

    if isinstance(told, str):
        assert MARK not in told
    else:
        for held in (told.type, *values_in(told.facts)):
            assert held is None or is_fit_for_postgres(held)


def is_fit_for_postgres(value: str | int) -> bool:
    if isinstance(value, int):
        return 0 <= value < YEAR_10000
    return value != "" and "\x00" not in value and value == value.encode("utf-8", "replace").decode()


def values_in(value: Any) -> Iterator[Any]:
    """All texts, numbers and Nones in facts."""
    if is_dataclass(value):
        value = tuple(getattr(value, field.name) for field in fields(value))
    if isinstance(value, tuple):
        for inner in value:
            yield from values_in(inner)
    else:
        yield value
