"""Running a rehearsal: generated hospitals, their real agents, the real coordinator and secure sums, in one process."""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.study_checks import check_study
from aggregator.tracking import NullTracker
from experiments.engines.inline import InlineTransport
from experiments.genotypes.rehearsing import (
    give_drawn_list,
    with_drawn_genotypes,
    with_drawn_variants,
)
from experiments.identities import with_own_identities
from experiments.observing import held_out_loss
from experiments.preparation import PreparedSites
from experiments.privacy_plan.rehearsal import rehearsal_records, rehearsal_site, rehearsal_streams
from experiments.study_rehearsal.findings import (
    findings_of_manifest,
    findings_of_run,
    findings_of_statistics,
    findings_of_variants,
    spare_sites,
)
from experiments.study_rehearsal.outcome import Run, message_costs, rounds_of, unplugging
from experiments.study_rehearsal.relabelling import DEFAULT_PATIENTS, rehearsed
from experiments.study_rehearsal.report import RehearsalReport
from experiments.study_rehearsal.wire import Plug, RehearsalWire
from federation.data.encoding import feature_names
from federation.errors import CohortiumError, InvalidInputError
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.statistics.result import StudyAnalysis
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult, StudyResult
from site_client.agent import SiteAgent
from site_client.records_file import RecordsAt, write_records
from site_client.site_folder import SiteFolder, write_patients
from site_client.what_leaves import what_leaves

OnRound = Callable[[RoundResult], None]


@dataclass(frozen=True)
class Wishes:
    """How to rehearse.

    Args:
        patients: Generated training patients a site, at most.
        rounds: Rounds, at most; ``None``: all.
        unplug: Site to unplug; ``None``: the last of the roster, if the study can spare one.
        unplug_round: In which round; ``None``: the middle one.
        mid_round: After it has sent its update.
        no_unplug: Unplug nobody.
        seed: Of the generated patients, sampling and noise: nobody has to be protected.
    """

    patients: int = DEFAULT_PATIENTS
    rounds: int | None = None
    unplug: str | None = None
    unplug_round: int | None = None
    mid_round: bool = False
    no_unplug: bool = False
    seed: int = 0


def rehearse(study: StudyManifest, wishes: Wishes, *, today: dt.date, on_round: OnRound) -> RehearsalReport:
    """Run a whole study on generated patients.

    Args:
        study: As it would be signed.
        wishes: How.
        today: UTC; a study that has expired is rehearsed all the same.
        on_round: Called after each round.

    Returns:
        What happened, also where the study could not go on.

    Raises:
        ManifestError: If the study does not hold together, or hardly any generated patient meets the cohort definition.
        PrivacyRefusedError: If the noise does not keep the promise.
        RecordsError: If generated records are not ready for the study.
        InvalidInputError: If the site or round to unplug is none of the study's.
    """
    started = time.monotonic()
    privacy = check_study(study)
    ready = rehearsed(study, patients=wishes.patients, rounds=wishes.rounds)
    plug = plug_of(ready.manifest, wishes)
    with tempfile.TemporaryDirectory(prefix="cohortium-rehearsal-") as name:
        done = _run(ready.manifest, plug, folder=Path(name), seed=wishes.seed, on_round=on_round)
    rounds = rounds_of(done)
    unplugged = None if plug is None else unplugging(plug, done, ready.manifest)
    return RehearsalReport(
        study=study.study,
        version=study.version,
        manifest=study.digest,
        rehearsal=done.manifest.digest,
        declared_patients={entry.site: entry.training_patients for entry in study.roster},
        rehearsed_patients=dict(done.patients),
        leaves_each_site=tuple(what_leaves(study)),
        released=tuple(released(study)),
        privacy=privacy,
        epsilon=dict(done.results[-1].epsilon_spent) if done.results else {},
        rounds=rounds,
        messages=message_costs(done.exchanges),
        unplugged=unplugged,
        findings=(
            *findings_of_manifest(study, capped=ready.capped, today=today),
            *findings_of_run(
                [entry for entry in rounds if entry.round_number],
                done.exchanges,
                unplugged=unplugged,
                failure=done.failure,
            ),
            *findings_of_variants(study),
            *findings_of_statistics(done.analyses),
        ),
        failure="" if done.failure is None else type(done.failure).__name__,
        seconds=time.monotonic() - started,
    )


def plug_of(study: StudyManifest, wishes: Wishes) -> Plug | None:
    """Which site is unplugged, and when; ``None`` if nobody is, or nobody can be spared and none was named.

    Raises:
        InvalidInputError: If the site or the round is none of the study's.
    """
    sites, rounds = [entry.site for entry in study.roster], study.schedule.rounds
    if wishes.no_unplug or (wishes.unplug is None and spare_sites(study) < 1):
        return None
    site, number = wishes.unplug or sites[-1], wishes.unplug_round or (rounds + 1) // 2
    if site not in sites:
        raise InvalidInputError(f"expected a site of the roster to unplug, got {site!r}", remedy=f"one of {sites}")
    if number > rounds:
        raise InvalidInputError(f"expected a round from 1 to {rounds} in which to unplug {site}, got {number}")
    return Plug(site=site, round_number=number, mid_round=wishes.mid_round)


def released(study: StudyManifest) -> list[str]:
    """What the study publishes in the end, in words."""
    features, times = len(feature_names(study.contract)), len(study.evaluation_rounds())
    found = [f"the model after round {study.schedule.rounds}: {study.model.kind}, of {features} encoded features"]
    if study.preparation is not None:
        found.append("the public map of the features, from noisy counts")
    found += [
        f"{'exact statistics' if each.privacy is None else 'statistics with noise'}: {each.name}"
        for each in (study.statistics.analyses if study.statistics else ())
    ]
    if not times:
        return [*found, "nothing about how well it does"]
    whose = "over all sites" if study.evaluation.release == "sum" else "of each site and over all"
    exactness = "exact" if study.evaluation.noise is None else "with noise, and its error"
    often = "once" if times == 1 else f"{times} times"
    return [*found, f"how well it does {whose}, {often}, {exactness}"]


def _run(study: StudyManifest, plug: Plug | None, *, folder: Path, seed: int, on_round: OnRound) -> Run:
    study = with_drawn_variants(study)
    streams = rehearsal_streams(seed)
    data = tuple(rehearsal_site(study, entry.site, streams=streams).data for entry in study.roster)
    files = {site.site: folder / "patients" / f"{site.site}.safetensors" for site in data}
    for site in data:
        write_patients(files[site.site], site)
    manifest, identities = with_own_identities(study, folder / "keys", seed=seed)
    sites = PreparedSites(
        manifest=manifest, data=data, pooled_data=data, attrition={}, readiness={}, patient_files=files
    )
    agents = {
        site: SiteAgent(
            SiteFolder.create(
                folder / "sites" / site,
                site=site,
                manifest=manifest,
                patients=path,
                seed=seed,
                identity=identities.get(site),
                records=_records(manifest, site, streams=streams, folder=folder),
            )
        ).handle
        for site, path in files.items()
    }
    give_drawn_list(manifest, folder / "coordinator")
    wire = RehearsalWire(InlineTransport(agents), plug)
    results: list[RoundResult] = []

    def note(result: RoundResult) -> None:
        results.append(result)
        on_round(result)

    failure: CohortiumError | None = None
    analyses: tuple[StudyAnalysis, ...] = ()
    try:
        analyses = _coordinate(sites, wire, folder=folder / "coordinator", seed=seed, on_round=note).analyses
    except CohortiumError as stopped:
        failure = stopped
    patients = {site.site: site.training.num_patients for site in data}
    return Run(manifest, patients, results, wire.exchanges, wire.lost, failure, analyses)


def _records(study: StudyManifest, site: str, *, streams: RandomStreams, folder: Path) -> RecordsAt | None:
    """The generated records, where the study takes exact statistics of them."""
    if study.statistics is None:
        return None
    place = RecordsAt(folder / "patients" / f"{site}.records.safetensors", folder / "sites" / site / "answers")
    write_records(place.file, rehearsal_records(study, site, streams=streams))
    return with_drawn_genotypes(place, study, site, streams=streams, folder=folder / "genotypes")


def _coordinate(
    sites: PreparedSites, wire: RehearsalWire, *, folder: Path, seed: int, on_round: OnRound
) -> StudyResult:
    study = sites.manifest
    return run_study(
        study,
        wire,
        NullTracker(),
        checkpoints=CheckpointStore(folder, study=study.digest),
        clock=time.monotonic,
        on_round=on_round,
        held_out=held_out_loss(sites, study),
        streams=seeded_streams(seed, provenance=study.cohort.provenance),
    )
