"""A private study for tests of the privacy plan: calibrated, with paid evaluation or with none."""

from __future__ import annotations

from functools import cache

from experiments.privacy_plan.plan import PrivacyPlan
from experiments.privacy_plan.planning import plan_of
from federation.data.preparation import PreparationSpec
from federation.privacy.accounting import NOTHING, add, cost_of
from federation.privacy.calibration import calibrate_noise_multiplier, sampling_numerator_of
from federation.privacy.events import DiscreteGaussian
from federation.study.manifest import StudyManifest
from tests.small_study import manifest_data

DELTA = 1e-5
ROUNDS, STEPS, EVERY = 6, 3, 2
VARIANCE = 900


def private_study(*, epsilon=3.0, probability=0.2, paid=True, **changes) -> StudyManifest:
    numerator = sampling_numerator_of(probability)
    evaluation = cost_of(DiscreteGaussian(sensitivity_squared=1, variance=VARIANCE))
    noise = calibrate_noise_multiplier(
        epsilon=epsilon,
        delta=DELTA,
        sampling_numerator=numerator,
        steps=STEPS,
        rounds=ROUNDS,
        beside=add(NOTHING, evaluation, times=3) if paid else NOTHING,
    )
    data = manifest_data(
        cohort={"provenance": "patients" if paid else "synthetic"},
        schedule={
            "rounds": ROUNDS, "local_steps": STEPS, "batch_size": 16, "evaluate_every": EVERY,
            "optimiser": {"learning_rate": 0.5},
        },
        privacy={
            "kind": "patient_level", "epsilon": epsilon, "delta": DELTA, "clipping_norm": 1.0,
            "sampling_numerator": numerator, "noise_multiplier": noise,
        },
        evaluation={"release": "sum", "noise": {"variance": VARIANCE}} if paid else {"release": "none"},
        roster=[
            {"site": site, "weight": weight, "training_patients": patients}
            for site, weight, patients in (("north", 3.0, 120), ("south", 1.0, 60), ("west", 1.0, 25))
        ],
    )  # fmt: skip
    return StudyManifest.from_data(data | changes)


def prepared_study(*, epsilon=4.0) -> StudyManifest:
    """The same study, which pays for the quantiles of two numbers first."""
    study = private_study(epsilon=epsilon)
    preparation = {"variance": 3000, "quantiles_of": ["x0", "x2"], "levels": 12}
    spent = PreparationSpec.from_data(preparation).event(study.contract)
    noise = calibrate_noise_multiplier(
        epsilon=epsilon,
        delta=DELTA,
        sampling_numerator=study.privacy.sampling_numerator,
        steps=STEPS,
        rounds=ROUNDS,
        beside=add(study.cost_beside_training(3), cost_of(spent)),
    )
    data = study.as_data()
    return StudyManifest.from_data(
        data | {"preparation": preparation, "privacy": data["privacy"] | {"noise_multiplier": noise}}
    )


def private_plan(*, epsilon: float = 3.0, paid: bool = True) -> PrivacyPlan:
    """Computed once: plans do not change."""
    return _plan(epsilon, paid)


@cache
def _plan(epsilon: float, paid: bool) -> PrivacyPlan:
    return plan_of(private_study(epsilon=epsilon, paid=paid))
