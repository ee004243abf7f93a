"""docs/operations.md and the alert rules tell what the code measures, logs and checks."""

import re
from typing import Any

import asyncpg
import yaml
from docs.pages import ROOT, page
from prometheus_client import Counter, Gauge, Histogram

from clerksync_server.cli.doctor import CHECKS
from clerksync_server.ops import metrics

OPERATIONS = page("docs/operations.md")
SERVER = ROOT / "server" / "clerksync_server"
METRICS: list[Any] = [kind for kind in vars(metrics).values() if isinstance(kind, Counter | Gauge | Histogram)]
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


def _name(metric: Any) -> str:
    return str(metric._name) + ("_total" if isinstance(metric, Counter) else "")


def _series(metric: Any) -> set[str]:
    """The names under which Prometheus knows the metric."""
    if isinstance(metric, Histogram):
        return {f"{metric._name}_{suffix}" for suffix in ("bucket", "count", "sum")}
    return {_name(metric)}


def test_every_metric_is_listed_as_it_is() -> None:
    """The table of metrics has name, type and labels of each metric in ops/metrics.py, and no other."""
    expected = [
        [f"`{_name(metric)}`", type(metric).__name__.lower(), ", ".join(f"`{label}`" for label in metric._labelnames)]
        for metric in METRICS
    ]

    assert expected == [row[:3] for row in OPERATIONS.table("metric", "type", "labels", "counts")]


def test_every_log_line_is_listed() -> None:
    """The table of log lines names each event that the program logs outside `clerksync dev`, and no other."""
    call = re.compile(r'(?:_log\.(?:info|warning|error|log)|\blog|\blevel)\((?:\s*\w+,)?\s*"([^"]+)"')
    logged = {
        event
        for path in SERVER.rglob("*.py")
        if path.parent.name != "dev"
        for event in call.findall(path.read_text(encoding="utf-8"))
    }

    listed = {
        name for row in OPERATIONS.table("event", "level", "from", "fields of its own") for name in row[0].split(", ")
    }

    assert {f"`{event}`" for event in logged} == listed


def test_the_validation_queries_are_those_of_doctor() -> None:
    """The page shows database/queries/doctor.sql as it is."""
    queries = (SERVER / "database" / "queries" / "doctor.sql").read_text(encoding="utf-8")

    assert queries in OPERATIONS.blocks("sql")


def test_every_check_of_doctor_is_listed() -> None:
    """The table of checks has each check of `clerksync doctor` with its verdict, in its order."""
    expected = [[f"`{check.query}`", "BROKEN" if check.broken else "look"] for check in CHECKS]

    assert expected == [row[:2] for row in OPERATIONS.table("check", "verdict", "what to do if it is not 0")]


async def test_every_query_runs(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Every SQL block of the pages for operators runs on a migrated database."""
    names = ("docs/operations.md", "docs/security.md", "docs/clerk-webhook-setup.md")
    blocks = [block for name in names for block in page(name).blocks("sql")]

    for block in blocks:
        if block.startswith("begin;"):
            await connection.execute(block)
            continue
        undone = connection.transaction()
        await undone.start()
        await connection.execute(block)
        await undone.rollback()


def test_every_alert_is_complete() -> None:
    """Each alert rule has a name, an expression, a time, a severity and a summary that says what to do."""
    for rule in RULES:
        assert {"alert", "expr", "for", "labels", "annotations"} == set(rule)
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert len(rule["annotations"]["summary"].split(". ")) > 1, rule["alert"]


def test_every_alert_is_listed() -> None:
    """The table of alerts has the name and the severity of each rule, in their order."""
    expected = [[f"`{rule['alert']}`", rule["labels"]["severity"]] for rule in RULES]

    assert expected == [row[:2] for row in OPERATIONS.table("alert", "severity", "first thing to read")]


def test_every_metric_in_an_alert_exists() -> None:
    """Each alert rule asks for metrics and labels that ops/metrics.py declares."""
    series = {name: set(metric._labelnames) for metric in METRICS for name in _series(metric)}

    for rule in RULES:
        named = re.findall(r"\b(clerksync_\w+)(?:\{([^}]*)\})?", rule["expr"])
        assert named, rule["alert"]
        for name, selectors in named:
            assert name in series, rule["alert"]
            assert set(re.findall(r"(\w+)[=!]~?\"", selectors)) <= series[name], rule["alert"]
