"""docs/api.md tells the contract and the answers as they are."""

import inspect
import re
from typing import Any

import grpc.aio
import pytest
from docs.pages import all_pages, page
from google.protobuf import json_format, message_factory
from google.rpc import error_details_pb2
from stack import Stack

from clerksync.v1 import delivery_service_pb2, sync_service_pb2
from clerksync.v1.error_reason_pb2 import ErrorReason
from clerksync_server import errors
from clerksync_server.clerk.events import EVENT_TYPES
from clerksync_server.grpc_api.status import code_name, status_of
from clerksync_server.rules.decisions import Rule
from clerksync_server.rules.evidence import Verdict
from clerksync_server.webhook_front import app as front

API = page("docs/api.md")
WEBHOOK_SETUP = page("docs/clerk-webhook-setup.md")
SERVICES = {
    service.full_name: service
    for file in (sync_service_pb2.DESCRIPTOR, delivery_service_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
}
REFUSALS = (
    Verdict.USER_DELETED,
    Verdict.ORGANIZATION_DELETED,
    Verdict.MEMBERSHIP_REMOVED,
    Verdict.EVIDENCE_TOO_OLD,
)
UNJOINED = {
    Rule.OTHER_TYPE: "ignored",
    Rule.OTHER_INSTANCE: "ignored",
    Rule.NOT_UNDERSTOOD: "quarantined",
    Rule.REFUSED_BY_DATABASE: "quarantined",
}
"""What becomes of deliveries whose facts are not joined."""
FAILURES: list[Exception] = [
    errors.InvalidFields({"clerk_user_id": "is missing"}),
    errors.DeliveryNotFound(),
    errors.BodyUnreadable("no key"),
    errors.DeliveryContended(),
    errors.Unauthenticated("text", missing=True),
    errors.Unauthenticated("text"),
    errors.NotAllowed("token:a"),
    *(errors.SessionTokenRefused(problem, "text") for problem in errors.SessionTokenProblem),
    errors.KeysUnavailable("CLERKSYNC_CLERK_JWKS"),
    errors.Overloaded(),
    errors.RateLimited(1),
    errors.DatabaseUnavailable("gone"),
    errors.DatabaseRefused("constraint"),
    errors.ShuttingDown(),
    ValueError("a defect"),
    *map(errors.Refused, REFUSALS),
]
DETAILS = (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)


def _told(error: Exception) -> tuple[str, str, str]:
    """The reason, code and details of an error, as the page writes them."""
    status = status_of(error)
    reason, details = "", []
    for packed in status.details:
        for kind in DETAILS:
            if not packed.Is(kind.DESCRIPTOR):
                continue
            detail = kind()
            packed.Unpack(detail)
            name = kind.DESCRIPTOR.name
            if isinstance(detail, error_details_pb2.ErrorInfo):
                reason = detail.reason
            elif isinstance(detail, error_details_pb2.RetryInfo):
                name += f" ({detail.retry_delay.seconds} s)"
            details.append(name)
    return f"`{reason}`", code_name(status), ", ".join(details)


def test_every_reason_is_listed() -> None:
    """The table of errors has a row for each value of ErrorReason, and no other."""
    expected = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys() if ErrorReason.Value(name)}  # noqa: SIM118

    listed = [row[0].strip("`") for row in API.table("reason", "code", "details", "when", "what a caller does")]

    assert sorted(expected) == sorted(listed)


def test_every_error_is_listed_as_it_is_sent() -> None:
    """Code and details of each reason in the table are those that grpc_api/status.py sends."""
    expected = {_told(error) for error in FAILURES}

    listed = {(row[0], row[1], row[2]) for row in API.table("reason", "code", "details", "when", "what a caller does")}

    assert expected == listed


def test_every_method_is_listed() -> None:
    """The table of methods has a row for each method of our services, and no other."""
    expected = sorted(f"`{name}/{method.name}`" for name, service in SERVICES.items() for method in service.methods)

    assert expected == sorted(row[0] for row in API.table("method", "for", "what it does"))


def test_every_rule_is_listed_as_it_is() -> None:
    """The table of rules has name, sentence and outcome of each rule in rules/decisions.py, in their order."""
    expected = [[f"`{rule}`", rule.sentence, UNJOINED.get(rule, rule.effect.name.lower())] for rule in Rule]

    assert expected == API.table("rule", "explanation", "outcome")


def test_every_part_of_an_explanation_is_listed() -> None:
    """The table of an explanation's parts has each field of the response, in their order."""
    expected = [f"`{field.name}`" for field in sync_service_pb2.ExplainUserProfileResponse.DESCRIPTOR.fields]

    assert expected == [row[0] for row in API.table("part", "tells")]


def test_every_http_answer_is_listed() -> None:
    """The table of HTTP answers has the outcomes and the refusals of the front, and no other."""
    outcomes = {(str(answer.status), f"`{answer.result}`") for answer in front._ANSWERS.values()}
    refusals = {
        (status, f"`{result}`")
        for status, result in re.findall(r'_Refusal\(\s*(\d+),\s*"(\w+)"', inspect.getsource(front))
    }

    assert refusals
    assert outcomes | refusals == {(row[0], row[1]) for row in API.table("status", "result", "when")}


def test_every_event_type_is_listed() -> None:
    """Both the API and the set-up of the webhook name the nine types of event, and no other of their kinds."""
    named = re.compile(r"`((?:organization|organizationMembership|user)\.[a-z]+)`")

    assert set(EVENT_TYPES) == set(named.findall(API.text))
    assert {row[0].strip("`") for row in WEBHOOK_SETUP.table("event", "what it changes")} == set(EVENT_TYPES)


def test_the_front_is_where_the_pages_say() -> None:
    """The path of the webhook is the front's."""
    assert f"POST {front.PATH}" in API.text
    assert front.PATH in WEBHOOK_SETUP.text


def test_every_grpcurl_line_fits_the_contract() -> None:
    """Each grpcurl line that calls a method of ours names one that exists, with a request that it understands."""
    calls = [
        (found_page.path.name, line, *found.groups())
        for found_page in all_pages()
        for line in found_page.code_lines()
        if "grpcurl" in line and (found := re.search(r"\b(clerksync\.v1\.\w+)/(\w+)", line))
    ]

    assert calls
    for page_name, line, service, method in calls:
        assert service in SERVICES, f"{page_name}: {line}"
        assert method in SERVICES[service].methods_by_name, f"{page_name}: {line}"
        request = message_factory.GetMessageClass(SERVICES[service].methods_by_name[method].input_type)()
        body = re.search(r"-d '([^']*)'", line)
        json_format.Parse(body[1] if body else "{}", request)


async def test_the_reason_of_an_error_is_found_as_shown(stack: Stack) -> None:
    """The Python that the page shows finds the reason of a call that failed."""
    namespace: dict[str, Any] = {}
    exec("\n".join(API.blocks("python")), namespace)

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stack.ensure_profile("", "org_1")

    assert namespace["reason_of"](failed.value) == "INVALID_FIELD"
