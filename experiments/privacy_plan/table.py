"""A privacy plan on a terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aggregator.report.content import SeedSpread
from experiments.privacy_plan.curve import UtilityCurve
from experiments.privacy_plan.plan import Epsilon, PrivacyPlan, PromisePlan, SitePlan
from site_client.ledger_room import LedgerRoom

_OWN: Final = "the site's own to tell"
_LEGEND: Final = (
    "a step: expected number of patients. noise: standard deviation in each coordinate of the mean gradient. signal/noise: the "
    "longest possible mean gradient, if all patients agree, by the expected length of its noise; below 1 a step is mostly noise."
)


def show_plan(console: Console, plan: PrivacyPlan) -> None:
    """Show the plan: promise, rounds, sites. A study without privacy gets one sentence."""
    console.print(f"{plan.study}, version {plan.version}", style="bold")
    console.print(plan.statement, style=None if plan.promise else "bold red", markup=False, soft_wrap=True)
    if plan.promise is None:
        return
    console.print()
    console.print(_facts(plan.promise))
    console.print(_releases(plan.promise))
    console.print(_rounds(plan.promise))
    if plan.promise.unit == "site":
        return
    console.print(_sites(plan.sites, plan.promise))
    console.print(_LEGEND, style="dim", soft_wrap=True)
    if any(site.ledger for site in plan.sites):
        console.print(_ledgers(plan.sites))
    else:
        console.print(
            f"cap      what remains of each site's cap is {_OWN}: --ledger SITE=PATH shows one", soft_wrap=True
        )


def show_curve(console: Console, curve: UtilityCurve) -> None:
    """Show the epsilon-utility curve, with what it is not."""
    console.print()
    seeds = f"mean of {len(curve.seeds)} seeds [{curve.confidence_level:.0%} interval]"
    table = Table(
        title=f"rehearsal · {curve.title} · {seeds if len(curve.seeds) > 1 else 'one seed'}", title_justify="left"
    )
    for title in ("epsilon", "noise", curve.title, "difference"):
        table.add_column(title, justify="right")
    for point in curve.points:
        table.add_row(
            "no privacy" if point.epsilon is None else f"{point.epsilon:g}",
            "–" if point.noise_multiplier is None else f"{point.noise_multiplier:.4g}",
            "–" if point.metric is None else _spread(point.metric),
            "–" if point.difference is None else _spread(point.difference, sign="+"),
        )
    console.print(table)
    for point in curve.points:
        if point.note:
            where = "no privacy" if point.epsilon is None else f"epsilon {point.epsilon:g}"
            console.print(f"{where}: {point.note}", markup=False, soft_wrap=True)
    patients = f"{sum(curve.training_patients.values())} training and {sum(curve.test_patients.values())} held-out"
    console.print(f"{curve.notice} ({patients} patients.)", style="bold", markup=False, soft_wrap=True)


def _facts(promise: PromisePlan) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    facts = {
        "noise multiplier": f"{promise.noise_multiplier:g} (noise standard deviation / clipping norm {promise.clipping_norm:g})",
        "sampling": f"each {promise.unit} enters a step with probability {promise.sampling_probability:.6g}",
        "steps": f"{promise.rounds} rounds of {promise.steps_per_round}: {promise.steps}",
        "model": f"{promise.parameters} parameters, each with noise of its own",
        "noise of the mean": f"{promise.noise_of_federated_mean:.3g} on every parameter, over all sites; signal/noise "
        f"{promise.federated_signal_to_noise:.3g}",
        "one round alone": f"epsilon {_epsilon(promise.one_round)}",
        "whole study": f"epsilon {_epsilon(promise.total)} of {promise.epsilon:g} promised, delta {promise.delta:g} "
        f"(Rényi order {promise.order:g})",
    }
    for name, value in facts.items():
        table.add_row(name, Text(value))
    return table


def _releases(promise: PromisePlan) -> Table:
    table = Table(title=f"what is released about a {promise.unit}", title_justify="left")
    table.add_column("release")
    for title in ("times", "share", "alone: RDP", "PLD"):
        table.add_column(title, justify="right")
    for entry in promise.releases:
        table.add_row(entry.kind, str(entry.releases), f"{entry.share:.1%}", *_two(entry.alone))
    return table


def _rounds(promise: PromisePlan) -> Table:
    table = Table(title="epsilon up to a round (rounds do not add up)", title_justify="left")
    for title in ("after round", "RDP (enforced)", "PLD (informative)"):
        table.add_column(title, justify="right")
    for entry in promise.after:
        table.add_row(str(entry.round_number), *_two(entry.epsilon))
    return table


def _sites(sites: tuple[SitePlan, ...], promise: PromisePlan) -> Table:
    table = Table(title="site by site, from declared numbers", title_justify="left")
    table.add_column("site")
    for title in ("patients", "a step", "noise", "signal/noise", "epsilon RDP", "PLD"):
        table.add_column(title, justify="right", no_wrap=True)
    for entry in sites:
        patients = (str(entry.declared_patients), f"{entry.patients_per_step:.1f}")
        noise = (f"{entry.noise_of_mean:.3g}", f"{entry.signal_to_noise:.3g}")
        table.add_row(entry.site, *patients, *noise, *_two(entry.epsilon))
    table.add_section()
    noise = (f"{promise.noise_of_federated_mean:.3g}", f"{promise.federated_signal_to_noise:.3g}")
    table.add_row("weighted mean", "", "", *noise, "", "")
    return table


def _ledgers(sites: tuple[SitePlan, ...]) -> Table:
    table = Table(title="caps, by the ledgers given", title_justify="left")
    table.add_column("site")
    for title in ("cap", "delta", "spent", "remaining", "after this study", "admitted"):
        table.add_column(title, justify="right")
    for entry in sites:
        table.add_row(entry.site, *_room(entry.ledger))
    return table


def _room(room: LedgerRoom | None) -> tuple[str | Text, ...]:
    if room is None:
        return (_OWN,)
    after = "no bound" if room.epsilon_after is None else f"{room.epsilon_after:.4g}"
    verdict = Text("yes", style="green") if room.admitted else Text("no", style="bold red")
    if room.locked:
        verdict = Text("no: locked", style="bold red")
    figures = (room.epsilon_cap, room.delta, room.epsilon_spent, room.epsilon_remaining)
    return (*(f"{value:.4g}" for value in figures), after, verdict)


def _two(epsilon: Epsilon) -> tuple[str, str]:
    return f"{epsilon.rdp:.4g}", "–" if epsilon.pld is None else f"{epsilon.pld:.4g}"


def _epsilon(epsilon: Epsilon) -> str:
    enforced, informative = _two(epsilon)
    return f"{enforced} (PLD {informative})"


def _spread(spread: SeedSpread, *, sign: str = "") -> str:
    text = f"{spread.mean:{sign}.3f}"
    return text if spread.lower is None or spread.upper is None else f"{text} [{spread.lower:.3f}, {spread.upper:.3f}]"
