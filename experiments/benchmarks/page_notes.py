"""What the page says of a run as a whole: where it comes from, what is not in it, and on which machine it was taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from experiments.benchmarks.goals import GOALS
from experiments.benchmarks.races import RACES, cannot
from experiments.benchmarks.records import Benchmarks, MachineFacts, Origin, owner_of

_SHOWN: Final = 3
"""Names of benches in a note."""
_BUSY: Final = 1.5
"""Load a core above which a run says so."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; bars in cells do not break it."""
    lines = [list(head), ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def source(run: Benchmarks) -> str:
    """Which run the page is made of, or which runs."""
    if len(run.origins) < 2:  # noqa: PLR2004 - several
        return f"the run of {run.date}"
    dates = sorted({origin.date for origin in run.origins})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"{len(run.origins)} runs of {when} that were put together ([which](#the-machine))"


def warning(run: Benchmarks, known: Sequence[str]) -> str:
    """A note where a run is no whole one on a quiet machine; else nothing.

    Args:
        run: The run.
        known: Names of all benches.
    """
    notes: list[str] = []
    if run.quick:
        notes.append("this run was a quick one, which shows that everything runs and measures nothing")
    if run.only and missing_benches(run, known):
        notes.append("a part of the measurements was asked for: " + _named(run.only))
    for origin in origins_of(run):
        before, after, cores = origin.load_before[0], origin.load_after[1], origin.machine.cores
        if max(before, after) > _BUSY * cores:
            first, more = origin.benches[:_SHOWN], len(origin.benches) - _SHOWN
            rest = f" and {more} others" if more > 0 else ""
            which = f" while {_named(first)}{rest} ran" if run.origins else ""
            notes.append(
                f"the machine may have been busy with other work{which} (load {before:g} before, {after:g} in the last five "
                f"minutes, with the dozens of processes that some benches start, on {cores} cores)"
            )
    return f"**Note:** {'; '.join(notes)}.\n\n" if notes else ""


def origins_of(run: Benchmarks) -> tuple[Origin, ...]:
    """The runs that it was put together from; of a run that was not: itself."""
    if run.origins:
        return run.origins
    return (
        Origin(
            date=run.date,
            code=run.code,
            machine=run.machine,
            load_before=run.load_before,
            load_after=run.load_after,
            benches=run.benches,
        ),
    )


def missing_benches(run: Benchmarks, known: Sequence[str]) -> tuple[str, ...]:
    """The benches without a row, in their order."""
    rows = (*run.measurements, *run.figures)
    found = {owner_of(row.name, known) for row in rows}
    return tuple(name for name in known if name not in found)


def not_measured(run: Benchmarks, known: Sequence[str]) -> str:
    """Everything that has no row: skipped, not asked for, impossible, or gone without a word.

    Args:
        run: The run.
        known: Names of all benches.
    """
    missing = missing_benches(run, known)
    reasons = _missing_ways(run) | {item.name: item.reason for item in run.skipped}
    for goal in GOALS:
        if goal.value(run) is None and owner_of(goal.name, known) not in missing:
            reasons.setdefault(goal.name, "not in this run")
    lines = [f"- `{name}`: {reason}" for name, reason in reasons.items()]
    explained = {owner_of(name, known) for name in reasons}
    unasked = [name for name in missing if name not in run.benches and name not in explained]
    silent = [name for name in missing if name in run.benches and name not in explained]
    if unasked:
        lines.append(f"- {'not asked for' if run.only else 'not in this run'}: {_named(unasked)}")
    if silent:
        lines.append(f"- ran and left no row: {_named(silent)}")
    return "\n".join(lines) if lines else "Everything was."


def _missing_ways(run: Benchmarks) -> dict[str, str]:
    """Ways without a row of the races that were run, each with its reason."""
    rows = {item.name for item in run.measurements}
    found: dict[str, str] = {}
    for race in RACES:
        ways = {f"{race.name}_{way}": cannot(race, way) or "not in this run" for way in race.others}
        if rows & ways.keys():
            found |= {name: reason for name, reason in ways.items() if name not in rows}
    return found


def machine(run: Benchmarks) -> str:
    """The machine; of several runs: what each of them measured, with which code, and every machine among them once."""
    if not run.origins:
        return _facts(run.machine, (("code", run.code), ("load over 1, 5, 15 minutes", _loads(run))))
    machines = list(dict.fromkeys(origin.machine.digest for origin in run.origins))
    facts = {origin.machine.digest: origin.machine for origin in run.origins}
    head = ("run of", "code", "machine", "load over 1, 5, 15 minutes", "measured")
    rows = [
        (
            origin.date,
            origin.code,
            str(machines.index(origin.machine.digest) + 1),
            _loads(origin),
            _named(origin.benches),
        )
        for origin in run.origins
    ]
    parts = [f"Machine {number}:\n\n{_facts(facts[digest])}" for number, digest in enumerate(machines, start=1)]
    return "\n\n".join([table(head, rows), *parts])


def _facts(facts: MachineFacts, more: Iterable[tuple[str, str]] = ()) -> str:
    rows = [
        ("processor", f"{facts.processor}, {facts.cores} cores, {facts.memory_gib:g} GiB"),
        ("caches of a core", ", ".join(f"{name} {size}" for name, size in facts.caches.items())),
        ("accelerator", facts.accelerator),
        ("system", f"{facts.system}, Python {facts.python}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items())),
        ("PyTorch", facts.torch_build),
        *more,
    ]
    return table(("", ""), rows)


def _loads(run: Benchmarks | Origin) -> str:
    before, after = (" ".join(f"{value:.2f}" for value in load) for load in (run.load_before, run.load_after))
    return f"{before} before, {after} after"


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
