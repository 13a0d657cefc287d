"""From a manifest to its privacy plan, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from experiments.privacy_plan.plan import (
    AfterRound,
    Epsilon,
    PrivacyPlan,
    PromisePlan,
    ReleaseKind,
    ReleaseShare,
    SitePlan,
)
from experiments.privacy_plan.pld import Times, epsilon_by_pld
from federation.errors import InternalError
from federation.models.parameters import layout_of
from federation.privacy.accounting import NOTHING, Cost, add, cost_of, epsilon_by_order, epsilon_of_cost
from federation.privacy.events import PrivacyEvent
from federation.privacy.promise import MechanismSpec, NoPrivacy, PatientLevelPrivacy, SiteLevelPrivacy
from federation.privacy.rdp_curves import ORDERS
from federation.privacy.site_level import site_round_event
from federation.study.manifest import StudyManifest
from federation.study.network import network_of
from site_client.ledger_room import LedgerRoom

NO_GUARANTEE: Final = (
    "This study promises no privacy: there is no noise, nothing is accounted for and there is no guarantee. What the sites "
    "send may reveal single patients."
)

_MILESTONES: Final = 8


def plan_of(manifest: StudyManifest, *, ledgers: Mapping[str, LedgerRoom] | None = None) -> PrivacyPlan:
    """Compute the plan.

    Args:
        manifest: Valid, so its noise keeps its promise.
        ledgers: Site to what its ledger says; others are the site's own to tell.

    Raises:
        MissingDependencyError: If dp-accounting is not installed (as ``ModuleNotFoundError``, told by the command line).
        ModelRefusedError: If the study is private and its model cannot be.
    """
    privacy = manifest.privacy
    plan = PrivacyPlan(
        study=manifest.study,
        version=manifest.version,
        manifest=manifest.digest,
        statement=NO_GUARANTEE,
        promise=None,
        sites=(),
    )
    if isinstance(privacy, NoPrivacy):
        return plan
    promise = _promise(manifest, privacy)
    if isinstance(privacy, SiteLevelPrivacy):
        statement = _site_level_statement(privacy, promise)
        return plan.model_copy(update={"statement": statement, "promise": promise})
    sites = tuple(
        _site(
            manifest.mechanism(entry.site), site=entry.site, patients=entry.training_patients, promise=promise
        ).model_copy(update={"ledger": (ledgers or {}).get(entry.site)})
        for entry in manifest.roster
    )
    statement = _patient_level_statement(privacy, promise)
    return plan.model_copy(update={"statement": statement, "promise": promise, "sites": sites})


def _patient_level_statement(privacy: PatientLevelPrivacy, promise: PromisePlan) -> str:
    return (
        f"Every patient of every site by itself: {privacy.target}, against everyone who sees what the study releases. "
        f"The whole study spends epsilon {promise.total.rdp:.4g} by Rényi accounting, which is what a ledger is charged."
    )


def _site_level_statement(privacy: SiteLevelPrivacy, promise: PromisePlan) -> str:
    return (
        f"Every site as a whole: {privacy.target}, against everyone who sees the model, but not against the aggregator, which "
        f"sees each update. The whole study spends epsilon {promise.total.rdp:.4g} by Rényi accounting. Single patients are "
        "not promised anything, so no ledger of patients is charged."
    )


@dataclass(frozen=True)
class Releases:
    """Everything a study releases about a patient (or a site), by kind.

    Args:
        training: Of one round; ``None`` without privacy.
        evaluation: One paid evaluation, if there is one.
        evaluated: The rounds in which it is due.
        preparation: What is paid for before the first round, with its number.
    """

    training: PrivacyEvent | None
    evaluation: PrivacyEvent | None
    evaluated: tuple[int, ...]
    preparation: tuple[Times, ...]

    def until(self, round_number: int) -> dict[ReleaseKind, tuple[Times, ...]]:
        """What has been released after a round, 0 being before the first; kinds without a release are left out."""
        found: dict[ReleaseKind, tuple[Times, ...]] = {}
        if self.preparation:
            found["preparation"] = self.preparation
        if self.training is not None:
            found["training"] = ((self.training, round_number),)
        if self.evaluation is not None:
            found["evaluation"] = ((self.evaluation, sum(due <= round_number for due in self.evaluated)),)
        return found


def releases_of(manifest: StudyManifest) -> Releases:
    """Divide everything that the manifest charges into kinds; the plan compares their sum with what is charged."""
    privacy = manifest.privacy
    if isinstance(privacy, SiteLevelPrivacy):
        return Releases(training=site_round_event(privacy), evaluation=None, evaluated=(), preparation=())
    training, evaluation, evaluated = (
        manifest.training_event(),
        manifest.evaluation_event(),
        manifest.evaluation_rounds(),
    )
    preparation = manifest.preparation_event()
    return Releases(
        training=training,
        evaluation=evaluation,
        evaluated=evaluated if evaluation else (),
        preparation=() if preparation is None else ((preparation, 1),),
    )


def beside_training(manifest: StudyManifest) -> Cost:
    """What the study costs a patient beside training: paid evaluations and preparation."""
    found = releases_of(manifest).until(manifest.schedule.rounds)
    return _cost(release for kind, releases in found.items() if kind != "training" for release in releases)


def _cost(releases: Iterable[Times]) -> Cost:
    total = NOTHING
    for event, times in releases:
        total = add(total, cost_of(event), times=times)
    return total


def _epsilon(releases: Iterable[Times], delta: float) -> Epsilon:
    known = tuple(releases)
    return Epsilon(rdp=epsilon_of_cost(_cost(known), delta=delta), pld=epsilon_by_pld(known, delta=delta))


def _promise(manifest: StudyManifest, privacy: PatientLevelPrivacy | SiteLevelPrivacy) -> PromisePlan:
    schedule, delta = manifest.schedule, privacy.delta
    releases = releases_of(manifest)
    everything = releases.until(schedule.rounds)
    total = _cost(chain.from_iterable(everything.values()))
    charged = manifest.privacy_cost() if isinstance(privacy, PatientLevelPrivacy) else manifest.site_cost()
    if total != charged or releases.training is None:
        raise InternalError("expected the plan to show every release that the manifest charges, got another sum")
    place = int(np.argmin(epsilon_by_order(total, delta=delta)))
    after = tuple(
        AfterRound(round_number=number, epsilon=_epsilon(chain.from_iterable(releases.until(number).values()), delta))
        for number in milestones(schedule.rounds)
    )
    is_sampled = isinstance(privacy, PatientLevelPrivacy)
    parameters, noise = _num_parameters(manifest), _federated_noise(manifest, privacy)
    return PromisePlan(
        epsilon=privacy.epsilon,
        delta=delta,
        unit=privacy.target.unit,
        clipping_norm=privacy.clipping_norm,
        noise_multiplier=privacy.noise_multiplier,
        sampling_probability=privacy.sampling_probability if is_sampled else 1.0,
        rounds=schedule.rounds,
        steps_per_round=schedule.local_steps if is_sampled else 1,
        steps=schedule.rounds * (schedule.local_steps if is_sampled else 1),
        parameters=parameters,
        one_round=_epsilon([(releases.training, 1)], delta),
        after=after,
        total=after[-1].epsilon,
        order=float(ORDERS[place]),
        releases=tuple(
            ReleaseShare(
                kind=kind,
                releases=sum(times for _, times in found),
                share=_cost(found)[place] / total[place],
                alone=_epsilon(found, delta),
            )
            for kind, found in everything.items()
        ),
        noise_of_federated_mean=noise,
        federated_signal_to_noise=privacy.clipping_norm / (noise * math.sqrt(parameters)),
    )


def milestones(rounds: int) -> tuple[int, ...]:
    """A few rounds, evenly spaced; the first and the last are among them."""
    return tuple(sorted({1, *(math.ceil(rounds * part / _MILESTONES) for part in range(1, _MILESTONES + 1))}))


def _site(mechanism: MechanismSpec, *, site: str, patients: int, promise: PromisePlan) -> SitePlan:
    noise = mechanism.noise_standard_deviation / mechanism.divisor
    return SitePlan(
        site=site,
        declared_patients=patients,
        epsilon=promise.total,  # every site samples and adds noise alike; what differs is how many patients share the noise
        patients_per_step=mechanism.divisor,
        noise_of_mean=noise,
        signal_to_noise=mechanism.clipping_norm / (noise * math.sqrt(promise.parameters)),
        ledger=None,
    )


def _federated_noise(manifest: StudyManifest, privacy: PatientLevelPrivacy | SiteLevelPrivacy) -> float:
    """Independent noise of the sites under the weights of the federated mean; or one noise for the sum of all sites."""
    if isinstance(privacy, SiteLevelPrivacy):
        return privacy.noise_multiplier * privacy.clipping_norm / len(manifest.roster)
    whole = math.fsum(entry.weight for entry in manifest.roster)
    parts = [
        entry.weight / whole * mechanism.noise_standard_deviation / mechanism.divisor
        for entry in manifest.roster
        for mechanism in (manifest.mechanism(entry.site),)
    ]
    return math.hypot(*parts)


def _num_parameters(manifest: StudyManifest) -> int:
    model = network_of(manifest)
    return layout_of(model).num_trainable
