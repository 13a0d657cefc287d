"""What each patient adds to a step: the parts of the step itself, bounded; the noise has the promised size, and no less passes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from experiments.analyse_plans import agree
from experiments.analyse_settings import read_settings
from federation.errors import ConfigurationError, InternalError, InvalidInputError
from federation.privacy.randomness import seeded_streams
from federation.statistics.descriptive_steps import Grid, HistogramStep, LevelCountStep, Levels
from federation.statistics.private.plans import plan_of
from federation.statistics.private.sharing import shared
from federation.statistics.private_step import PrivateStep
from federation.statistics.requests import StepRequest
from federation.statistics.step import Columns, Step
from tests.statistics_bench import CONTRACT, draw

VALUES = draw(60)
COLUMNS = Columns(values=VALUES, records=60)
ANALYSES = {
    "describe": ["analysis=describe", "variables=[age,lactate,ward]"],
    "crosstab": ["analysis=crosstab", "rows=ward", "columns=died"],
    "logistic": ["analysis=glm", "formula=died ~ age*male + ward"],
    "linear": ["analysis=glm", "formula=lactate ~ age + ward"],
    "poisson": ["analysis=glm", "formula=visits ~ age + ward", "family=poisson", "offset=log(weeks)"],
    "gamma": ["analysis=glm", "formula=cost ~ age + ward", "family=gamma"],
    "penalised": ["analysis=penalised_logistic", "formula=died ~ age + ward", "ridge=2"],
    "curves": ["analysis=kaplan_meier", "time=days", "event=event", "grid=25", "group=male", "entry=entry-day"],
    "ranks": ["analysis=log_rank", "time=days", "event=event", "grid=25", "group=male", "strata=ward"],
    "cox": [
        "analysis=cox",
        "formula=~ age + male",
        "time=days",
        "event=event",
        "grid=25",
        "ties=breslow",
        "strata=ward",
    ],
    "odds": ["analysis=mantel_haenszel", "exposure=male", "strata=ward"],
    "pca": ["analysis=pca", "variables=[age,lactate]"],
}


def planned(name: str, *words: str, epsilon: float = 2.0):
    settings, _ = read_settings([*ANALYSES[name], f"privacy.epsilon={epsilon}", *words])
    return plan_of(agree(settings, CONTRACT, name=name, shares=3), CONTRACT)


def stream(label: str, *places: int):
    return seeded_streams(11, provenance="synthetic").stream(label, *places)


def at_zero(step: Step) -> Step:
    """With as many coefficients as the columns need."""
    if "coefficients" not in type(step).model_fields:
        return step
    model = getattr(step, "model", step)
    width = len(model.design.columns)
    changes: dict[str, object] = {"coefficients": (0.1,) * width}
    if "hazards" in type(step).model_fields:
        changes |= {"points": ((0, 3), (1, 5)), "hazards": (-2.0, -1.5)}
    return step.model_copy(update=changes)


def portions_of(name: str, **words):
    return [portion for release in planned(name, **words).examples for portion in release]


@pytest.mark.parametrize("name", list(ANALYSES))
def test_what_each_patient_adds_sums_up_to_the_step(name: str) -> None:
    for portion in portions_of(name):
        step = at_zero(portion.step)
        fast, whole = step.per_patient(COLUMNS), step.summarise(COLUMNS)
        slow = Step.per_patient(step, COLUMNS)
        for part in portion.scales:
            assert np.allclose(fast[part].sum(axis=0), whole[part], rtol=1e-9, atol=1e-9)
            assert np.allclose(fast[part], slow[part], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", list(ANALYSES))
def test_the_parts_of_a_vector_have_norm_one_together(name: str) -> None:
    for release in planned(name).examples:
        assert math.sqrt(sum(norm**2 for portion in release for norm in portion.norms.values())) == pytest.approx(1.0)
        vectors = np.concatenate(
            [portion.model_copy(update={"step": at_zero(portion.step)}).vectors(COLUMNS) for portion in release], axis=1
        )
        assert np.linalg.norm(vectors, axis=1).max() <= 1 + 1e-9


@pytest.mark.parametrize(
    ("name", "part"), [("logistic", "score"), ("logistic", "information"), ("linear", "information")]
)
def test_the_default_bounds_of_a_regression_shorten_nobody(name: str, part: str) -> None:
    portion = next(portion for portion in portions_of(name) if part in portion.scales)
    found = at_zero(portion.step).per_patient(COLUMNS)[part]
    if part == "information":
        found = np.stack([matrix[np.triu_indices(len(matrix))] for matrix in found])
    assert np.linalg.norm(found, axis=1).max() / portion.scales[part] <= portion.norms[part]


def test_clipping_changes_the_bounds_but_not_those_of_counts() -> None:
    for plain, half in zip(
        planned("logistic").examples[0], planned("logistic", "privacy.clipping=0.5").examples[0], strict=True
    ):
        for part, scale in plain.scales.items():
            assert half.scales[part] == pytest.approx(scale * (1.0 if part == "patients" else 0.5))


def histogram(noise: float, *, bins: int = 20_000, shares: int = 3) -> PrivateStep:
    grid = Grid(variable="age", start=18.0, width=82 / bins, bins=bins)
    portions = shared([(HistogramStep(grid=grid), {"counts": (1.0, 1.0)})], clipping=1.0)
    return PrivateStep(analysis="ages", release=1, noise_multiplier=noise, shares=shares, portions=portions)


def opened(step: PrivateStep, sites: int, *, columns: Columns | None = None) -> np.ndarray:
    nobody = Columns(values={"age": np.zeros(0)}, records=0)
    words = [
        step.noisy_words(columns or nobody, rounding=stream("rounding", site), noise=stream("noise", site))
        for site in range(sites)
    ]
    return step.opened(np.sum(words, axis=0))


def has_variance(found: np.ndarray, deviation: float) -> bool:
    """Whether draws have a variance, by a chi-squared test at one in a million on either side."""
    chance = float(stats.chi2.cdf(found.size * np.mean(found**2) / deviation**2, found.size))
    return 1e-6 < chance < 1 - 1e-6


def test_a_sum_is_unbiased_and_has_the_promised_variance() -> None:
    step = histogram(2.0)
    found = opened(step, 3)
    assert abs(found.mean()) < 5 * 2.0 / math.sqrt(found.size)
    assert has_variance(found, 2.0)
    assert has_variance(found, step.noise_deviation(3))


def test_a_wrong_noise_multiplier_and_a_missing_share_are_caught() -> None:
    """The planted faults."""
    assert not has_variance(opened(histogram(1.9), 3), 2.0)
    assert not has_variance(opened(histogram(2.1), 3), 2.0)
    assert not has_variance(opened(histogram(2.0), 2), 2.0)


def test_counts_come_back_without_bias() -> None:
    step = histogram(0.01, bins=8)
    columns = Columns(values={"age": VALUES["age"]}, records=60)
    found = opened(step, 1, columns=columns)
    expected = step.portions[0].step.summarise(columns)["counts"]
    assert np.all(np.abs(found - expected) < 0.1)


def test_no_sum_without_noise_is_to_be_had() -> None:
    step = histogram(1.0)
    for ask in (step.summarise, step.answer, step.words):
        with pytest.raises(InternalError):
            ask(Columns(values={"age": VALUES["age"]}, records=60))


def test_a_patient_with_several_records_is_refused() -> None:
    several = Columns(values={"age": VALUES["age"]}, records=60, patients=59)
    with pytest.raises(InternalError, match="one record"):
        histogram(1.0).whole_sum(several, generator=stream("rounding"))


def test_a_record_that_the_step_cannot_use_counts_for_nothing_and_tells_nothing() -> None:
    """Negative times and unknown levels are errors without privacy. Here an error would be an answer about one patient."""
    values = {name: column.copy() for name, column in VALUES.items()}
    values["days"][7] = -3.0
    portion = portions_of("curves")[0]
    vectors = portion.vectors(Columns(values=values, records=60))
    assert not vectors[7].any()
    assert np.array_equal(np.delete(vectors, 7, axis=0), np.delete(portion.vectors(COLUMNS), 7, axis=0))
    values["ward"][9] = 7.0
    step = LevelCountStep(coded=(Levels(variable="ward", levels=3),))
    portion = shared([(step, {"counts": (1.0, 1.0)})], clipping=1.0)[0]
    assert not portion.vectors(Columns(values=values, records=60))[9].any()


def test_a_step_survives_the_wire_and_the_agreed_part_knows_it() -> None:
    plan = planned("logistic")
    step = plan.step(2, tuple(each.model_copy(update={"step": at_zero(each.step)}) for each in plan.examples[1]))
    request = {"terms": "sha256:0", "number": 3, "selection": {}, "step": step.model_dump(mode="json")}
    read = StepRequest.from_data(request).step
    assert read == step
    assert plan.allows(read)


@pytest.mark.parametrize(
    "change",
    [{"noise_multiplier": 0.1}, {"shares": 4}, {"release": 9}, {"release": 0}, {"analysis": "another"}],
    ids=["less noise", "more shares", "a release too many", "a release too few", "another analysis"],
)
def test_what_was_not_agreed_is_not_allowed(change: dict[str, object]) -> None:
    plan = planned("logistic")
    assert plan.allows(plan.step(1, plan.examples[0]))
    assert not plan.allows(plan.step(1, plan.examples[0]).model_copy(update=change))


def test_other_scales_are_not_allowed() -> None:
    plan = planned("crosstab")
    portion = plan.examples[0][0].model_copy(update={"scales": {"counts": 0.01}})
    assert not plan.allows(plan.step(1, (portion,)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["analysis=cox", "formula=~ age", "time=days", "event=event", "strata=site"], "grid="),
        (["analysis=cox", "formula=~ age", "time=days", "event=event", "grid=25"], "ties=breslow"),
        (["analysis=log_rank", "time=days", "event=event", "group=male", "strata=site"], "grid="),
        (["analysis=mantel_haenszel", "exposure=male"], "strata=VARIABLE"),
        (["analysis=meta", "formula=died ~ age", "term=age"], "analysis=glm"),
        (["analysis=glm", "formula=died ~ age + male", "against=died ~ age"], "against"),
        (["analysis=glm", "formula=visits ~ age", "family=poisson", "privacy.iterations=1"], "privacy.iterations"),
    ],
)
def test_what_is_no_sum_over_patients_is_refused_with_the_alternative(words: list[str], said: str) -> None:
    settings, _ = read_settings([*words, "privacy.epsilon=1"])
    with pytest.raises(InvalidInputError) as caught:
        agree(settings, CONTRACT)
    assert said in str(caught.value) + str(caught.value.remedy)


@pytest.mark.parametrize("word", ["privacy.epsilon=0", "privacy.epsilon=-1", "privacy.delta=1e-5", "privacy.noise=1"])
def test_a_promise_that_makes_no_sense_is_refused(word: str) -> None:
    with pytest.raises(ConfigurationError):
        read_settings([*ANALYSES["crosstab"], word])
