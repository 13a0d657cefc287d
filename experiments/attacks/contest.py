"""One study under attack, again and again: every way of combining updates against every attack, on the same patients."""

from __future__ import annotations

import datetime as dt
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from aggregator.transport import Transport
from experiments.attacks.malice import Attack, MaliciousTransport, flipped
from experiments.attacks.masked import BLIND, run_masked
from experiments.engines.inline import InlineTransport
from experiments.identities import make_identities, public_keys
from experiments.point_metrics import point_metrics
from experiments.predictions import SitePredictions, joined, scored
from experiments.preparation import PreparedSites, prepare_sites
from experiments.robust_choice import AggregationChoice, FLTrustChoice, compose_aggregation
from experiments.settings import SimulationSettings
from experiments.studies.catalogue import load_study
from federation.documents import Document
from federation.errors import ConfigurationError, NonFiniteModelError, QuorumError
from federation.models.parameters import load
from federation.privacy.randomness import seeded_streams
from federation.study.manifest import StudyManifest
from federation.study.network import network_of
from federation.study.result import RoundResult, StudyResult
from site_client.agent import SiteAgent
from site_client.evaluation import predict
from site_client.site_folder import SiteFolder, write_patients


class Bout(Document):
    """What one attack did to one way of combining updates."""

    rule: str
    attack: str
    """``none``: the clean run."""
    auroc: float | None
    """On all sites' test patients together; ``None``: there was no model, and ``note`` says why."""
    brier: float | None = None
    """Mean squared error of the predicted risks, on the same patients."""
    note: str = ""
    rounds_excluded: dict[str, int] = {}
    """By site: rounds in which its update was left out."""
    reasons: dict[str, str] = {}
    """By such a site: why, the first time."""
    rounds_rolled_back: tuple[int, ...] = ()
    """Rounds whose model the held-out gate refused."""


@dataclass(frozen=True)
class Contest:
    """A study and who attacks it.

    Args:
        settings: Of the study, as a simulation's.
        prepared: Its sites, and the manifest without robust aggregation.
        malicious: Sites that attack.
        folder: Where sites and encoded patients are kept.
    """

    settings: SimulationSettings
    prepared: PreparedSites = field(repr=False)
    malicious: frozenset[str]
    folder: Path

    def run(self, rule: str, choice: AggregationChoice, attack: Attack | None) -> Bout:
        """One bout.

        Args:
            rule: Name of the way of combining.
            choice: The same as settings; the number of faulty sites, the quorum and FLTrust's root are put in here.
            attack: ``None``: nobody attacks.
        """
        manifest = self._manifest(choice)
        name = attack or "none"
        if manifest.aggregation.masked is not None and attack is not None and attack in BLIND:
            return Bout(rule=rule, attack=name, auroc=None, note="nobody sees the honest updates")
        try:
            with tempfile.TemporaryDirectory(dir=self.folder, prefix="bout-") as place:
                result = self._study(manifest, attack, Path(place))
        except (QuorumError, NonFiniteModelError) as failure:
            return Bout(rule=rule, attack=name, auroc=None, note=type(failure).__name__)
        found = held_out_metrics(manifest, self.prepared, result)
        counts, reasons = _excluded(result.rounds)
        return Bout(
            rule=rule,
            attack=name,
            auroc=found.get("auroc"),
            brier=found.get("brier"),
            note="" if found else "predictions not finite",
            rounds_excluded=counts,
            reasons=reasons,
            rounds_rolled_back=tuple(entry.round_number for entry in result.rounds if entry.rolled_back),
        )

    def _manifest(self, choice: AggregationChoice) -> StudyManifest:
        sites = [entry.site for entry in self.prepared.manifest.roster]
        faulty = len(self.malicious)
        changes: dict[str, object] = {"quorum": len(sites) - faulty}
        if choice.robust is not None:
            rule = choice.robust.rule
            if isinstance(rule, FLTrustChoice) and rule.root is None:
                rule = rule.model_copy(update={"root": self._largest_honest()})
            changes["robust"] = choice.robust.model_copy(update={"byzantine": faulty, "rule": rule})
        aggregation = compose_aggregation(choice.model_copy(update=changes), sites)
        roster = [entry.as_data() for entry in self.prepared.manifest.roster]
        if choice.masked is not None:
            keys = public_keys(self._identities)
            roster = [entry | {"public_key": keys[str(entry["site"])]} for entry in roster]
        data = self.prepared.manifest.as_data() | {"aggregation": aggregation.as_data(), "roster": roster}
        return StudyManifest.from_data(data, error=ConfigurationError)

    @property
    def _identities(self) -> dict[str, Path]:
        manifest = self.prepared.manifest
        sites = [entry.site for entry in manifest.roster]
        seed, provenance = self.settings.seeds[0], manifest.cohort.provenance
        return make_identities(sites, self.folder / "identities", seed=seed, provenance=provenance)

    def _largest_honest(self) -> str:
        honest = [entry for entry in self.prepared.manifest.roster if entry.site not in self.malicious]
        return max(honest, key=lambda entry: entry.weight).site

    def _study(self, manifest: StudyManifest, attack: Attack | None, place: Path) -> StudyResult:
        seed = self.settings.seeds[0]
        if manifest.aggregation.masked is not None:
            return run_masked(
                manifest,
                self.prepared,
                attack=attack,
                malicious=self.malicious,
                patients=self.prepared.patient_files,
                identities=self._identities,
                seed=seed,
                place=place,
            )
        agents = {
            data.site: SiteAgent(
                SiteFolder.create(
                    place / data.site,
                    site=data.site,
                    manifest=manifest,
                    patients=self._patients(data.site, attack),
                    seed=seed,
                )
            ).handle
            for data in self.prepared.data
        }
        streams = seeded_streams(seed, provenance=manifest.cohort.provenance)
        transport: Transport = InlineTransport(agents)
        if attack is not None:
            transport = MaliciousTransport(transport, attack, self.malicious, streams.child("attack"))
        return run_study(
            manifest,
            transport,
            NullTracker(),
            checkpoints=CheckpointStore(place / "coordinator", study=manifest.digest),
            clock=itertools.count().__next__,
            on_round=lambda _: None,
            streams=streams,
        )

    def _patients(self, site: str, attack: Attack | None) -> Path:
        path = self.prepared.patient_files[site]
        if attack != "label_flip" or site not in self.malicious:
            return path
        lying = path.with_name("flipped.safetensors")
        if not lying.is_file():
            write_patients(lying, flipped(next(data for data in self.prepared.data if data.site == site)))
        return lying


def prepare_contest(settings: SimulationSettings, *, faulty: int, folder: Path, data: Path | None = None) -> Contest:
    """Prepare a study for attacks by its largest sites.

    Args:
        settings: Of the study; seeded.
        faulty: How many sites attack: those with the largest weights, which do the most harm.
        folder: Where hospitals and sites are kept.
        data: Folder of downloaded records, for studies that read them.

    Raises:
        ConfigurationError: If the outcome is not binary, or no site would be honest.
    """
    options = {name: value for name, value in settings.study.options.items() if name != "partition_seed"}
    seed = settings.study.options.get("partition_seed", 0)
    study = load_study(settings.study.name, options=options, seed=seed, folder=folder / "hospitals", data=data)
    today = dt.datetime.now(tz=dt.UTC).date()
    prepared = prepare_sites(settings, study, seed=settings.seeds[0], folder=folder / "patients", today=today)
    roster = sorted(prepared.manifest.roster, key=lambda entry: (-entry.weight, entry.site))
    if prepared.manifest.task != "binary" or not 1 <= faulty < len(roster):
        raise ConfigurationError(
            f"expected a study of a binary outcome and 1 to {len(roster) - 1} malicious sites, got task "
            f"{prepared.manifest.task!r} and {faulty}",
            remedy="choose study=demo or study=synthetic, and another --faulty",
        )
    malicious = frozenset(entry.site for entry in roster[:faulty])
    return Contest(settings=settings, prepared=prepared, malicious=malicious, folder=folder)


def held_out_metrics(manifest: StudyManifest, prepared: PreparedSites, result: StudyResult) -> dict[str, float]:
    """Metrics on all sites' test patients, those of malicious sites too; empty if predictions are not finite."""
    model = network_of(manifest, num_features=len(prepared.data[0].test.feature_names))
    load(model, result.parameters)
    predictions = tuple(
        SitePredictions(
            site=site.site,
            scores=predict(model, site.test, task=manifest.objective),
            outcomes=site.test.known_outcomes,
            patient_index=site.test.patient_index,
        )
        for site in prepared.data
    )
    if not all(np.isfinite(entry.scores).all() for entry in predictions):
        return {}
    return point_metrics(joined(tuple(scored(manifest.objective, entry) for entry in predictions)))


def _excluded(rounds: Sequence[RoundResult]) -> tuple[dict[str, int], dict[str, str]]:
    """By site: rounds in which its update was not used, and why, the first time."""
    counts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for result in rounds:
        for site, reason in (dict(result.dropouts) | dict(result.exclusions)).items():
            counts[site] = counts.get(site, 0) + 1
            reasons.setdefault(site, reason)
    return counts, reasons
