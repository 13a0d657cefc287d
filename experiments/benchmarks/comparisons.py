"""Everything that ``make bench`` measures, by name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from experiments.benchmarks.alternation import Beside, Comparison
from experiments.benchmarks.benches import Bench, Effort, Found, bench_of
from experiments.benchmarks.folds import fold_benches
from experiments.benchmarks.gate_attack import AttackedGate, attack_comparison
from experiments.benchmarks.messages import CONTENT_BYTES, RunningPair, message_comparisons
from experiments.benchmarks.privacy_costs import privacy_comparisons
from experiments.benchmarks.private_steps import step_benches
from experiments.benchmarks.races import race_benches
from experiments.benchmarks.records import Figure, Skipped
from experiments.benchmarks.secure_sums import fold_peak_bytes, secure_sum_comparisons
from experiments.benchmarks.step_parts import part_benches
from experiments.benchmarks.tracking_cost import batched_tracking_comparison, tracking_comparison
from experiments.benchmarks.unit_costs import unit_cost_bench
from experiments.benchmarks.whole_process import whole_process_bench
from experiments.engines.flower import QUIET
from federation.errors import CohortiumError

_FEW_SITES = 10
_MANY_SITES = 200
START_UP: Final = "start_up"


def _command(*words: str, environment: Mapping[str, str] | None = None) -> Callable[[], None]:
    def work() -> None:
        subprocess.run(words, check=True, capture_output=True, env=environment)  # noqa: S603 - fixed words

    return work


def _installed(name: str) -> Path:
    """A command beside this interpreter."""
    return Path(sys.executable).with_name(name)


def start_up() -> Comparison:
    """How long a user waits for help; beside Flower's command, where it is installed."""
    flower = Beside(
        name=f"{START_UP}_flower",
        question="cohortium --help / flwr --help, without its telemetry and its look for updates",
        work=_command(str(_installed("flwr")), "--help", environment=os.environ | QUIET),
    )
    return Comparison(
        name=START_UP,
        question="cohortium --help / an empty Python program",
        ours=_command(str(_installed("cohortium")), "--help"),
        floor=_command(sys.executable, "-c", "pass"),
        unit="start",
        beside=(flower,) if _installed("flwr").exists() else (),
    )


def start_up_bench(comparison: Comparison) -> Bench:
    """The start as ratios, and as the time that a user of this machine waits."""

    def run(effort: Effort) -> Found:
        found = bench_of(comparison).run(effort)
        waited = found.measurements[0].ours
        words = "cohortium --help, from the start of its process to its end"
        found.figures.append(Figure(name=f"{START_UP}_seconds", question=words, value=waited, unit="s"))
        if not comparison.beside:
            found.skipped.append(Skipped(name=f"{START_UP}_flower", reason="flwr is not installed beside this Python"))
        return found

    return Bench(name=comparison.name, question=comparison.question, run=run)


def _secure_fold_peak(effort: Effort) -> Found:
    """A minute of keys for the larger of the two."""
    sites = (_FEW_SITES,) if effort.quick else (_FEW_SITES, _MANY_SITES)
    words = "most bytes allocated while the masked numbers of {} sites are folded, 100,000 parameters"
    return Found(
        figures=[
            Figure(
                name=f"secure_fold_peak_{number}",
                question=words.format(number),
                value=float(fold_peak_bytes(number)),
                unit="bytes",
            )
            for number in sites
        ]
    )


def _deployment(comparison: Comparison, effort: Effort) -> Found:
    """Processes that do not start are no reason to lose an hour's other measurements."""
    try:
        return bench_of(comparison).run(Effort(repetitions=effort.long_turns, quick=effort.quick))
    except CohortiumError as failure:
        return Found(skipped=[Skipped(name=comparison.name, reason=str(failure))])


def benches(stack: ExitStack) -> tuple[Bench, ...]:
    """All of them, cheap to make: work is done when they are measured.

    Args:
        stack: Ends what the benches started.
    """
    running = RunningPair()
    stack.callback(running.close)
    gate = AttackedGate(content_bytes=CONTENT_BYTES)
    stack.callback(gate.close)
    return (
        *race_benches(),
        whole_process_bench(),
        *step_benches(),
        *part_benches(),
        *fold_benches(),
        *(bench_of(comparison) for comparison in privacy_comparisons()),
        *(bench_of(comparison) for comparison in secure_sum_comparisons()),
        Bench(name="secure_fold_peak", question="memory of a masked fold", run=_secure_fold_peak),
        unit_cost_bench(),
        start_up_bench(start_up()),
        bench_of(tracking_comparison()),
        bench_of(batched_tracking_comparison()),
        *(
            Bench(name=comparison.name, question=comparison.question, run=partial(_deployment, comparison))
            for comparison in (*message_comparisons(running), attack_comparison(gate))
        ),
    )


def bench_names() -> tuple[str, ...]:
    """Names of all benches, in the order in which they are measured."""
    with ExitStack() as stack:
        return tuple(bench.name for bench in benches(stack))
