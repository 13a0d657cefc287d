"""Everything that ``make bench`` measures, by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from experiments.benchmarks.alternation import Comparison
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
from federation.errors import CohortiumError

_FEW_SITES = 10
_MANY_SITES = 200


def _command(*words: str) -> Callable[[], None]:
    def work() -> None:
        subprocess.run(words, check=True, capture_output=True)  # noqa: S603 - fixed words

    return work


def start_up() -> Comparison:
    """How long a user waits for help."""
    cohortium = str(Path(sys.executable).with_name("cohortium"))
    return Comparison(
        name="start_up",
        question="cohortium --help / an empty Python program",
        ours=_command(cohortium, "--help"),
        floor=_command(sys.executable, "-c", "pass"),
        unit="start",
    )


def _secure_fold_memory(effort: Effort) -> Found:
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
        Bench(name="secure_fold_memory", question="memory of a masked fold", run=_secure_fold_memory),
        unit_cost_bench(),
        bench_of(start_up()),
        bench_of(tracking_comparison()),
        bench_of(batched_tracking_comparison()),
        *(
            Bench(name=comparison.name, question=comparison.question, run=partial(_deployment, comparison))
            for comparison in (*message_comparisons(running), attack_comparison(gate))
        ),
    )
