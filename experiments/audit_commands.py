"""``cohortium audit``: attack a study's privacy before anybody else does."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.console import Console

from federation.errors import ConfigurationError

if TYPE_CHECKING:
    from experiments.audit_choice import AuditChoice
    from experiments.preparation import PreparedSites
    from experiments.settings import SimulationSettings
    from federation.privacy.audit_result import StudyAudit

_Kind = Literal["mechanism", "one-run", "membership", "all"]

_TITLES: Final = {"mechanism": "mechanism", "one_run": "one run", "membership": "membership"}


def audit(  # noqa: PLR0913 - the options of a command
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[GROUP=OPTION] [KEY=VALUE]", help="As for `cohortium simulate`."),
    ] = None,
    *,
    kind: Annotated[_Kind, typer.Option("--kind", help="Which audit to run.")] = "all",
    samples: Annotated[
        int, typer.Option("--samples", min=200, help="Mechanism: noisy releases with and as many without the canary.")
    ] = 200_000,
    canaries: Annotated[
        int, typer.Option("--canaries", min=10, help="One run: invented patients, half take part.")
    ] = 5000,
    shadow_models: Annotated[
        int, typer.Option("--shadow-models", min=2, help="Membership: trainings to compare the released model with.")
    ] = 16,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the audit's own randomness. Otherwise the study's first.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", envvar="COHORTIUM_DATA", help="Folder of downloaded hospital records.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the results to this JSON file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Attack a private study and bound its epsilon from below.

    cohortium audit study=demo privacy.epsilon=2 --kind one-run

    The mechanism is the one in the study's manifest. Ends with exit code 47 if a lower bound exceeds the claimed
    epsilon: then the claim is false. Only for public and synthetic studies.
    """
    from aggregator.release_check import release_check
    from conf.loading import load
    from experiments.audit_choice import AuditChoice
    from experiments.settings import SimulationSettings
    from federation.durable_files import write_durably

    settings = load(SimulationSettings, overrides or [])
    choice = AuditChoice.from_data(
        {
            "kind": kind.replace("-", "_"),
            "samples": samples,
            "canaries": canaries,
            "shadow_models": shadow_models,
            "confidence": settings.report.confidence_level,
        },
        error=ConfigurationError,
    )
    console = None if quiet else Console(stderr=True, highlight=False)
    # Libraries print as they please; what was promised to be machine-readable stays so.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        found = run_audit(settings, choice, seed=seed, data=data, progress=console)
    if output is not None:
        write_durably(output, (found.model_dump_json(indent=1) + "\n").encode())
    if not as_json:
        _show(Console(highlight=False), found)
    release_check(found.results, manifest_digest=found.manifest_digest)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))


def run_audit(
    settings: SimulationSettings,
    choice: AuditChoice,
    *,
    seed: int | None,
    data: Path | None,
    progress: Console | None,
) -> StudyAudit:
    """Prepare the study's hospitals and audit it.

    Args:
        settings: As for a simulation; the first of its seeds makes the manifest.
        choice: Which audits.
        seed: Of the audit's randomness; ``None``: the first of the settings, or fresh if they are not seeded.
        data: Folder of downloaded records.
        progress: Where progress is shown; ``None``: nowhere.

    Raises:
        ConfigurationError: If the study is not private.
        PrivacyRefusedError: If its cohort is neither public nor synthetic.
    """
    import torch

    from experiments.audit.study_audit import audit_study
    from experiments.audit.subject import AuditSubject
    from experiments.preparation import simulated_preparation, with_prepared_features
    from experiments.progress import ProgressBoard
    from federation.privacy.randomness import fresh_streams, seeded_streams

    if settings.privacy.kind == "none":
        raise ConfigurationError(
            "expected a private study, got privacy 'none': there is no promise to audit",
            remedy="add privacy=patient_level",
        )
    torch.set_num_threads(1)  # sums must not depend on the number of cores
    with tempfile.TemporaryDirectory() as folder, ProgressBoard(progress, settings) as board:
        board.stage("hospitals")
        prepared = _prepare(settings, folder=Path(folder), data=data)
        chosen = settings.seeds[0] if seed is None and settings.seeded else seed
        provenance = prepared.manifest.cohort.provenance
        streams = fresh_streams() if chosen is None else seeded_streams(chosen, provenance=provenance)
        mapped = simulated_preparation(prepared.manifest, prepared.data, streams=streams.child("audit"))
        subject = AuditSubject(
            manifest=prepared.manifest,
            sites=with_prepared_features(prepared, mapped, folder=Path(folder) / "prepared").data,
            streams=streams.child("audit"),
            seeded=chosen is not None,
            confidence=choice.confidence,
            report=board.stage,
        )
        return audit_study(subject, choice)


def _prepare(settings: SimulationSettings, *, folder: Path, data: Path | None) -> PreparedSites:
    from experiments.preparation import prepare_sites
    from experiments.simulate import default_data
    from experiments.studies.catalogue import load_study

    options = dict(settings.study.options)
    partition_seed = options.pop("partition_seed", 0)
    if not isinstance(partition_seed, int):
        raise ConfigurationError(f"expected study.options.partition_seed to be an integer, got {partition_seed!r}")
    study = load_study(
        settings.study.name,
        options=options,
        seed=partition_seed,
        folder=folder / "hospitals",
        data=data or default_data(),
    )
    today = dt.datetime.now(dt.UTC).date()
    return prepare_sites(settings, study, seed=settings.seeds[0], folder=folder / "patients", today=today)


def _show(console: Console, found: StudyAudit) -> None:
    from rich.table import Table

    table = Table("audit", "attacked", "measured", "claimed", "verdict")
    for result in found.results:
        table.add_row(
            _TITLES[result.kind],
            result.attacked,
            f"at least {result.lower_bound_epsilon:.2f}",
            f"{result.claimed_epsilon:.2f}",
            "within the claim" if result.passed else "CLAIM REFUTED",
        )
    console.print(table)
    console.print(
        f"epsilon at delta {found.results[0].delta:g}, {found.results[0].confidence:.0%} confidence. A lower bound within "
        "the claim does not prove the claim.",
        soft_wrap=True,
    )
