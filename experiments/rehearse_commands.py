"""``cohortium study rehearse``: a lead's rehearsal of a study, without anybody's records."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from federation import errors

if TYPE_CHECKING:
    from federation.study.result import RoundResult


def register(study_app: typer.Typer) -> None:
    """Mount the command on ``cohortium study``."""
    study_app.command("rehearse")(rehearse)


def rehearse(  # noqa: PLR0913 - the options of a command, all keyword-only but one
    file: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest: YAML or JSON, plain or sealed.")],
    *,
    patients: Annotated[
        int, typer.Option("--patients", min=10, max=1_000_000, help="Generated training patients a site, at most.")
    ] = 300,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Rounds, at most. Otherwise all.")] = None,
    unplug: Annotated[
        str | None,
        typer.Option("--unplug", metavar="SITE", help="The site to unplug. Otherwise the last, if one can be spared."),
    ] = None,
    unplug_round: Annotated[
        int | None, typer.Option("--unplug-round", min=1, help="In which round. Otherwise in the middle.")
    ] = None,
    mid_round: Annotated[
        bool, typer.Option("--mid-round", help="Unplug it after it has sent its update, not before.")
    ] = False,
    no_unplug: Annotated[bool, typer.Option("--no-unplug", help="Unplug nobody.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the generated patients and of their noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Run a whole study on generated patients, with its privacy and secure aggregation, and unplug a site on the way.

    cohortium study rehearse study.yaml

    No record is read and nobody is charged. Exit code 0 if the study went through.
    """
    import torch

    from aggregator.manifest_file import read_manifest_file
    from experiments.study_rehearsal.running import Wishes
    from experiments.study_rehearsal.running import rehearse as run
    from experiments.study_rehearsal.table import show_rehearsal

    if unplug is not None and no_unplug:
        raise errors.InvalidInputError("expected one of --unplug and --no-unplug, got both")
    torch.set_num_threads(1)  # sums must not depend on the number of cores
    study = read_manifest_file(file).manifest
    wishes = Wishes(
        patients=patients,
        rounds=rounds,
        unplug=unplug,
        unplug_round=unplug_round,
        mid_round=mid_round,
        no_unplug=no_unplug,
        seed=seed,
    )
    progress = Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet or as_json)

    def on_round(result: RoundResult) -> None:
        progress.print(Text(f"round {result.round_number}: {len(result.contributors)} sites, {result.seconds:.2f} s"))

    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        report = run(study, wishes, today=dt.datetime.now(tz=dt.UTC).date(), on_round=on_round)
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        show_rehearsal(report, console=Console(highlight=False))
    if not report.finished:
        raise typer.Exit(getattr(errors, report.failure).exit_code)
