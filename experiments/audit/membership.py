"""Membership inference on the released model: the likelihood-ratio attack with shadow models that left a patient out.

For every patient, the attacker asks whether the released model is more confident about them than models are that never
saw them: the offline attack of Carlini et al. 2022 (arXiv 2112.03570). Members are the training patients of all sites,
others the test patients; the division is by keyed hash, so it is as good as a coin. Differential privacy limits the
attack at every threshold: TPR <= exp(epsilon) * FPR + delta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from experiments.audit.gaussian_dp import FloatArray, at_least, at_most
from experiments.audit.shadow_training import study_network, train_study
from experiments.audit.subject import AuditSubject
from experiments.baselines import pooled_patients
from federation.errors import InvalidInputError
from federation.models.count_metrics import unit_deviance
from federation.models.parameters import Vector, load
from federation.models.quantile_metrics import pinball
from federation.models.survival_metrics import log_losses
from federation.models.task_terms import DiscreteTimeTerms, Objective, QuantileTerms
from federation.privacy.audit_result import AttackRate, AuditResult
from site_client.evaluation import predict
from site_client.patients import PatientDataset

FALSE_RATES: Final = (0.001, 0.01, 0.1)
"""False positive rates at which the attack is judged; fixed in advance."""
_FEWEST_PATIENTS: Final = 20
_ENOUGH_SHADOWS: Final = 16
"""From so many shadow models without a patient on, the patient has a spread of their own."""
_SMALLEST: Final = 1e-7
"""Confidences closer to 0 or 1 are not told apart in float32."""


@dataclass(frozen=True)
class _Pool:
    """All patients of a study: those of a site are adjacent, its members first."""

    by_site: dict[str, PatientDataset] = field(repr=False)
    is_member: NDArray[np.bool_] = field(repr=False)

    def drawn(self, chosen: NDArray[np.bool_]) -> dict[str, PatientDataset]:
        """The chosen patients, by site."""
        start, found = 0, dict[str, PatientDataset]()
        for site, dataset in self.by_site.items():
            own = chosen[start : start + dataset.num_patients]
            found[site] = dataset.patients(np.flatnonzero(own).astype(np.int64))
            start += dataset.num_patients
        return found


def audit_membership(
    subject: AuditSubject, *, num_shadow_models: int = 16, released: Vector | None = None
) -> AuditResult:
    """Attack the released model and bound its epsilon from below.

    Args:
        subject: The study.
        num_shadow_models: Models that the attacker trains, each on a random half of all patients; at least 2.
        released: ``[D]`` the study's released parameters; ``None``: the study is trained here first.

    Raises:
        InvalidInputError: If there are too few shadow models or patients.
    """
    pool = _pool(subject)
    if num_shadow_models < 2 or min(pool.is_member.sum(), (~pool.is_member).sum()) < _FEWEST_PATIENTS:  # noqa: PLR2004
        raise InvalidInputError(
            f"expected at least 2 shadow models and {_FEWEST_PATIENTS} training and test patients, got "
            f"{num_shadow_models}, {pool.is_member.sum()} and {(~pool.is_member).sum()}"
        )
    scores = _attack(subject, pool, num_shadow_models=num_shadow_models, released=released)
    claimed = subject.spent_on_training
    rates = attack_rates(scores, pool.is_member, epsilon=claimed, delta=subject.delta, confidence=subject.confidence)
    bound = max(_epsilon_of(rate, delta=subject.delta) for rate in rates)
    return AuditResult(
        kind="membership",
        manifest_digest=subject.manifest.digest,
        attacked="the released model: who was a training patient",
        method="likelihood ratio to shadow models trained without the patient (Carlini et al. 2022, offline), "
        "Clopper-Pearson limits as if patients were independent",
        samples=pool.is_member.size,
        confidence=subject.confidence,
        lower_bound_epsilon=bound,
        delta=subject.delta,
        claimed_epsilon=claimed,
        num_shadow_models=num_shadow_models,
        rates=rates,
        seeded=subject.seeded,
        passed=bound <= claimed,
    )


def attack_rates(
    scores: FloatArray, is_member: NDArray[np.bool_], *, epsilon: float, delta: float, confidence: float
) -> tuple[AttackRate, ...]:
    """The attack's rates at :data:`FALSE_RATES`, beside what the claim allows.

    A threshold is an order statistic of the others' scores, so its false positive rate has a beta distribution and the
    limits hold although it was chosen by these scores.

    Args:
        scores: ``[patients]``; larger means more likely a member.
        is_member: ``[patients]``.
        epsilon: Claimed.
        delta: Of the claim.
        confidence: That all limits hold together.
    """
    members, others = scores[is_member], np.sort(scores[~is_member])
    wrong = sorted({math.floor(rate * others.size) for rate in FALSE_RATES})
    error = (1 - confidence) / (2 * len(wrong))
    found: list[AttackRate] = []
    for false_positives in wrong:
        right = int(np.sum(members > others[-1 - false_positives]))
        upper = float(at_most(false_positives, others.size, error=error))
        found.append(
            AttackRate(
                false_positives=false_positives,
                others=others.size,
                true_positives=right,
                members=members.size,
                true_rate_lower=float(at_least(right, members.size, error=error)),
                true_rate_upper=float(at_most(right, members.size, error=error)),
                false_rate_upper=upper,
                allowed=min(1.0, math.exp(min(epsilon, 700.0)) * upper + delta),
            )
        )
    return tuple(found)


def _epsilon_of(rate: AttackRate, *, delta: float) -> float:
    """The epsilon that one point proves; above the claim exactly if the true rate is surely above what it allows."""
    surplus = rate.true_rate_lower - delta
    return max(0.0, math.log(surplus / rate.false_rate_upper)) if surplus > 0 else 0.0


def _pool(subject: AuditSubject) -> _Pool:
    return _Pool(
        by_site={data.site: pooled_patients([data.training, data.test]) for data in subject.sites},
        is_member=np.concatenate(
            [np.arange(d.training.num_patients + d.test.num_patients) < d.training.num_patients for d in subject.sites]
        ),
    )


def _attack(subject: AuditSubject, pool: _Pool, *, num_shadow_models: int, released: Vector | None) -> FloatArray:
    """``[patients]`` standardised confidence of the released model, by models that did not see the patient."""
    manifest, streams = subject.manifest, subject.streams.child("membership")
    everyone = pooled_patients(list(pool.by_site.values()))
    network = study_network(manifest, everyone.features.shape[1])
    if released is None:
        subject.report("membership: the attacked model")
        released = train_study(manifest, pool.drawn(pool.is_member), streams=streams.child("released"))
    seen = streams.stream("halves").integers(0, 2, size=(num_shadow_models, pool.is_member.size)).astype(np.bool_)
    confidences = np.empty(seen.shape)
    for number in range(num_shadow_models):
        if number * 10 % num_shadow_models < 10:  # noqa: PLR2004 - about ten notes
            subject.report(f"membership: shadow model {number + 1} of {num_shadow_models}")
        parameters = train_study(manifest, pool.drawn(seen[number]), streams=streams.child("shadow", number))
        confidences[number] = _confidence(network, parameters, everyone, task=manifest.objective)
    attacked = _confidence(network, released, everyone, task=manifest.objective)
    return _standardised(attacked, confidences, seen)


def _standardised(attacked: FloatArray, confidences: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """Distance from the mean of the models that left the patient out, in their standard deviations."""
    unseen = np.where(seen, np.nan, confidences)
    counts = np.sum(~seen, axis=0)
    # A patient whom every shadow model saw is compared with everybody's mean: no reason to suspect them.
    means = np.where(counts > 0, np.nansum(unseen, axis=0) / np.maximum(counts, 1), confidences.mean(axis=0))
    squares = np.nansum((unseen - means) ** 2, axis=0)
    spread = math.sqrt(float(squares.sum()) / max(1, int(np.sum(np.maximum(counts - 1, 0)))))
    own = np.sqrt(squares / np.maximum(counts - 1, 1))
    scale = np.where((counts >= _ENOUGH_SHADOWS) & (own > 0), own, spread)
    return (attacked - means) / np.maximum(scale, _SMALLEST)


def _losses(task: Objective, said: FloatArray, outcomes: FloatArray) -> FloatArray:
    """``[records]`` how wrong a prediction is, up to a part that does not depend on the model."""
    match task:
        case "count":
            return unit_deviance(said, outcomes)
        case QuantileTerms():
            return pinball(task, said, outcomes).sum(axis=1)
        case DiscreteTimeTerms():
            return log_losses(task, said, outcomes)
        case _:
            return (said - outcomes) ** 2


def _confidence(network: nn.Module, parameters: Vector, dataset: PatientDataset, *, task: Objective) -> FloatArray:
    """``[patients]`` mean over a patient's records of the logit of the right answer; of all other tasks, minus the loss."""
    load(network, parameters)
    said = predict(network, dataset, task=task).astype(np.float64)
    if task != "binary" and task != "multiclass":  # noqa: PLR1714 - the types narrow
        by_record = -_losses(task, said, dataset.outcomes.astype(np.float64))
    else:
        right = (
            np.where(dataset.outcomes > 0, said, 1 - said)
            if task == "binary"
            else said[np.arange(len(said)), dataset.outcomes.astype(np.int64)]
        )
        right = np.clip(right, _SMALLEST, 1 - _SMALLEST)
        by_record = np.log(right / (1 - right))
    return np.bincount(dataset.patient_index, weights=by_record) / np.bincount(dataset.patient_index)
