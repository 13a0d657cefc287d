"""``cohortium study privacy``: what a study costs its patients and its model, before anything runs."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from federation.errors import ConfigurationError

if TYPE_CHECKING:
    from experiments.privacy_plan.curve import UtilityCurve
    from federation.study.manifest import StudyManifest
    from federation.study.result import RoundResult

PLAN_FILE: Final = "privacy_plan.json"
CURVE_FILE: Final = "utility_curve.json"
FIGURE_FILE: Final = "utility_curve.svg"


def register(study_app: typer.Typer) -> None:
    """Mount the command on ``cohortium study``."""
    study_app.command("privacy")(privacy)


def privacy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The manifest: YAML or JSON, plain or sealed.")],
    *,
    ledger: Annotated[
        list[str] | None,
        typer.Option(
            "--ledger", metavar="SITE=PATH", help="A site's ledger: shows what remains of its cap. Repeatable."
        ),
    ] = None,
    curve: Annotated[
        bool, typer.Option("--curve", help="Rehearse on generated patients: epsilon against utility.")
    ] = False,
    epsilons: Annotated[str, typer.Option("--epsilons", help="Of the rehearsal, separated by commas.")] = "0.5,1,2,4,8",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="Repetitions of the rehearsal.")] = 3,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for plan, curve and figure as files.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Show what a study costs in privacy and noise, before anything runs.

    cohortium study privacy study.json --ledger north=ledger.sqlite --curve --epsilons 1,2,4 --output plan

    Nothing is charged and no record is read.
    """
    from aggregator.manifest_file import read_manifest_file
    from experiments.privacy_plan.ledgers import parse_ledgers, read_rooms
    from experiments.privacy_plan.planning import plan_of
    from experiments.privacy_plan.table import show_curve, show_plan

    manifest = read_manifest_file(file).manifest
    manifest.cohort.check_against(manifest.contract)
    wanted, repetitions = _numbers(epsilons), tuple(range(seeds))
    if curve:
        from experiments.privacy_plan.curve import check_rehearsal

        check_rehearsal(manifest, epsilons=wanted, seeds=repetitions)
    rooms = read_rooms(parse_ledgers(ledger or [], manifest), manifest)
    plan = plan_of(manifest, ledgers=rooms)
    console = Console(highlight=False, quiet=as_json)
    show_plan(console, plan)
    progress = None if quiet else Console(stderr=True, highlight=False)
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        found = _rehearse(manifest, wanted, seeds=repetitions, progress=progress) if curve else None
    if found:
        show_curve(console, found)
    written = _write(output, {PLAN_FILE: plan.model_dump_json(indent=1)}, found) if output else []
    for path in written:
        console.print(f"written  {path}", markup=False, soft_wrap=True)
    if as_json:
        data = {"plan": plan.as_data(), "curve": found.as_data() if found else None, "files": written}
        typer.echo(json.dumps(data, indent=1, ensure_ascii=False))


def _numbers(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise ConfigurationError(
            f"expected --epsilons as numbers separated by commas, got {text!r}",
            remedy="such as --epsilons 0.5,1,2,4,8",
        )
    return found


def _rehearse(
    manifest: StudyManifest, epsilons: list[float], *, seeds: tuple[int, ...], progress: Console | None
) -> UtilityCurve:
    import torch

    from experiments.privacy_plan.curve import utility_curve
    from experiments.privacy_plan.rehearsal_run import rehearsal_settings
    from experiments.progress import ProgressBoard

    torch.set_num_threads(1)  # sums must not depend on the number of cores
    settings = rehearsal_settings(manifest, seeds=seeds)
    current: list[int] = []
    with ProgressBoard(progress, settings) as board:

        def on_stage(seed: int, label: str, result: RoundResult | None) -> None:
            if current != [seed]:
                current[:] = [seed]
                board.seed(seed)
            board.stage(f"rehearsal · {label}", result)

        return utility_curve(manifest, epsilons=epsilons, seeds=seeds, on_stage=on_stage)


def _write(folder: Path, files: dict[str, str], curve: UtilityCurve | None) -> list[str]:
    """Write what was found; return the paths."""
    from federation.durable_files import write_durably

    if curve is not None:
        from experiments.privacy_plan.figure import utility_svg

        files = {**files, CURVE_FILE: curve.model_dump_json(indent=1), FIGURE_FILE: utility_svg(curve)}
    for name, text in files.items():
        write_durably(folder / name, text.encode())
    return [str(folder / name) for name in files]
