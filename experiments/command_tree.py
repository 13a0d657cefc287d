"""The tree of commands, of which no more is imported than the words on the command line reach.

Importing every part's commands takes longer than answering ``cohortium --help``. So the root's help is made from the
summaries here, which a test compares with those of the commands themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import typer

HELP: Final = "Train and evaluate models across hospitals without moving a patient record."


def _simulate() -> Callable[..., object]:
    from experiments.commands import simulate

    return simulate


def _report() -> Callable[..., object]:
    from experiments.commands import report

    return report


def _audit() -> Callable[..., object]:
    from experiments.audit_commands import audit

    return audit


def _analyse() -> Callable[..., object]:
    from experiments.analyse_commands import analyse

    return analyse


def _gwas() -> Callable[..., object]:
    from experiments.genotypes.commands import gwas

    return gwas


def _operations() -> typer.Typer:
    from experiments.operations_commands import app

    return app


def _studies() -> typer.Typer:
    from experiments.commands import studies_app

    return studies_app


def _sweep() -> typer.Typer:
    from experiments.commands import sweep_app

    return sweep_app


def _consortium() -> typer.Typer:
    from aggregator.authority.commands import app

    return app


def _aggregator() -> typer.Typer:
    from aggregator.audit_log_commands import audit_app
    from aggregator.host.commands import app

    if audit_app not in [info.typer_instance for info in app.registered_groups]:
        app.add_typer(audit_app, name="audit")
    return app


def _study() -> typer.Typer:
    from aggregator import launch_commands, proposal_commands, release_commands
    from aggregator.commands import app
    from experiments import agree_commands, plan_commands, rehearse_commands

    parts = (agree_commands, plan_commands, rehearse_commands, proposal_commands, launch_commands, release_commands)
    if agree_commands.add_analysis not in [info.callback for info in app.registered_commands]:
        for part in parts:
            part.register(app)
    return app


def _tracking() -> typer.Typer:
    from aggregator.tracking_commands import app

    return app


def _site() -> typer.Typer:
    from site_client import approval_commands, enrolment_commands, score_commands
    from site_client.audit_commands import audit_app
    from site_client.commands import app

    if audit_app not in [info.typer_instance for info in app.registered_groups]:
        for part in (enrolment_commands, approval_commands, score_commands):
            part.register(app)
        app.add_typer(audit_app, name="audit")
    return app


@dataclass(frozen=True)
class Command:
    """A command below the root.

    Args:
        summary: First paragraph of its help.
        load: Imports it.
    """

    summary: str
    load: Callable[[], Callable[..., object]]


@dataclass(frozen=True)
class Group:
    """A group of commands below the root; as :class:`Command`."""

    summary: str
    load: Callable[[], typer.Typer]


COMMANDS: Final = {
    "simulate": Command("Simulate a federation of hospitals: train, compare, track and report.", _simulate),
    "report": Command("Write a finished simulation's HTML report again from its report.json.", _report),
    "audit": Command("Attack a private study and bound its epsilon from below.", _audit),
    "analyse": Command(
        "Analyse the records of a federation of hospitals: the same numbers as with all records in one place, from secure sums.",
        _analyse,
    ),
    "gwas": Command(
        "Test every genetic variant over all hospitals as if their genotypes were in one place, from secure sums.",
        _gwas,
    ),
}
GROUPS: Final = {
    "operations": Group(
        "Reports for whoever runs a hospital: mortality, stays, beds, follow-up.",
        _operations,
    ),
    "studies": Group("The named studies.", _studies),
    "sweep": Group("Finished sweeps.", _sweep),
    "consortium": Group("Be the consortium's authority: invite, admit, renew and revoke sites.", _consortium),
    "aggregator": Group("Run the machine that coordinates studies.", _aggregator),
    "study": Group("Check, seal and show study manifests.", _study),
    "tracking": Group("Deliver tracked results to MLflow, and see what waits.", _tracking),
    "site": Group("Work at a hospital.", _site),
}


def needed(words: Sequence[str], *, callback: Callable[..., None]) -> typer.Typer:
    """The part of the tree that these words can reach.

    Whoever asks for the root's help sees every name with its summary. Anything unknown gets the whole tree of names, whose error
    says what is near.

    Args:
        words: The command line without the program's name.
        callback: Options of the root.
    """
    first = words[0] if words else "--help"
    known = first in COMMANDS or first in GROUPS
    tree = typer.Typer(
        name="cohortium",
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if known else None,  # importing what draws frames takes longer than all the rest
    )
    tree.callback()(callback)
    if first in COMMANDS:
        tree.command(first)(COMMANDS[first].load())
    elif first in GROUPS:
        tree.add_typer(GROUPS[first].load(), name=first)
    else:
        _outline(tree)
    return tree


def whole(*, callback: Callable[..., None]) -> typer.Typer:
    """The tree with everything in it."""
    tree = typer.Typer(name="cohortium", help=HELP, no_args_is_help=True, add_completion=False)
    tree.callback()(callback)
    for name, command in COMMANDS.items():
        tree.command(name)(command.load())
    for name, group in GROUPS.items():
        tree.add_typer(group.load(), name=name)
    return tree


def _outline(tree: typer.Typer) -> None:
    for name, command in COMMANDS.items():
        tree.command(name, short_help=command.summary)(_nothing)
    for name, group in GROUPS.items():
        tree.add_typer(typer.Typer(), name=name, short_help=group.summary)


def _nothing() -> None:
    """Stands for a command whose name is shown and which is not called."""
