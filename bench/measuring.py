"""Measures in turns (A B C A B C …), so that whatever else the machine does falls upon all alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.cpu import machine_busy_s, process_cpu_s
from bench.load.jobs import ClientJob, Job
from bench.results import CLIENT, Round
from bench.site import Server, Site

Told = Callable[[str], None]
"""Is told what is being measured, once for each round of each case."""


@dataclass(frozen=True)
class Case:
    """A server under a load."""

    name: str
    server: Server
    job: Job
    calls_each: int = 1
    """How many calls of ours an answer stands for: the size of a batch."""


class MeasurementFailed(Exception):
    """The figures would mean nothing."""


def measure(site: Site, cases: Sequence[Case], rounds: int, told: Told) -> dict[str, list[Round]]:
    """Each case once in every round. Raises MeasurementFailed, ProcessFailed."""
    measured: dict[str, list[Round]] = {case.name: [] for case in cases}
    for _ in range(rounds):
        for case in cases:
            told(case.name)
            measured[case.name].append(_round(site, case))
    return measured


def _round(site: Site, case: Case) -> Round:
    own_before, generator_before, began = time.process_time(), process_cpu_s(site.generator.pid), time.monotonic()
    cpu_before, busy_before = case.server.cpu_s(), machine_busy_s()
    load = site.generator.run(case.job)
    cpu_after, busy_after = case.server.cpu_s(), machine_busy_s()
    took_s, ours_s = time.monotonic() - began, time.process_time() - own_before
    ours_s += process_cpu_s(site.generator.pid) - generator_before
    ours_s += sum(cpu_after.values()) - sum(cpu_before.values())
    case.server.check()
    case.server.forget_output()
    if not load.calls:
        raise MeasurementFailed(f"{case.name}: no call was answered; {load.first_failure or 'no failure either'}")
    calls = max(1, load.calls_in_all) * case.calls_each
    cpu_us = {name: (after - cpu_before[name]) * 1e6 / calls for name, after in cpu_after.items()}
    if isinstance(case.job, ClientJob):
        cpu_us[CLIENT] = load.generator_cpu_us
    return Round(
        per_second=load.calls * case.calls_each / load.seconds,
        p50_us=load.p50_us,
        p99_us=load.p99_us,
        calls=load.calls * case.calls_each,
        failures=load.failures,
        first_failure=load.first_failure,
        cpu_us=cpu_us,
        generator_cpu_us=load.generator_cpu_us / case.calls_each,
        others_cpu=max(0.0, busy_after - busy_before - ours_s) / took_s,
        ran_out=load.ran_out,
    )
