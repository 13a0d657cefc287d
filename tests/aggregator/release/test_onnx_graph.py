"""The exported graph says what the study's model says, for every kind of model, variable and task; and the check can fail."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from aggregator.release.onnx_graph import export_onnx
from aggregator.release.parity import TOLERANCE, check_parity, generated_patients, model_scores, run_graph
from federation.data.prepared_features import PreparedFeatures
from federation.errors import ReleaseRefusedError
from federation.study.manifest import StudyManifest
from federation.study.model_file import StudyModel
from tests.aggregator.release.finished_run import random_model
from tests.objectives import COX, HAZARDS, QUANTILES
from tests.small_study import manifest_data

VARIABLES = [
    {"name": "age", "kind": "integer", "unit": "year", "minimum": 18, "maximum": 110},
    {"name": "bmi", "kind": "continuous", "unit": "kg/m^2", "minimum": 10, "maximum": 70,
     "reference": {"mean": 26.5, "standard_deviation": 4.7, "source": "a survey"}},
    {"name": "chol", "kind": "continuous", "unit": "mg/dL", "minimum": 50, "maximum": 700,
     "missing": {"rule": "impute", "value": 200.0, "indicator": True}},
    {"name": "male", "kind": "binary", "missing": {"rule": "impute", "value": 1}},
    {"name": "pain", "kind": "categorical", "levels": ["none", "typical", "other", "rare"],
     "missing": {"rule": "impute", "value": "other", "indicator": True}},
    {"name": "ward", "kind": "categorical", "levels": ["a", "b"]},
    {"name": "stage", "kind": "ordinal", "levels": ["1", "2", "3", "4"], "missing": {"rule": "impute", "value": "1"}},
]  # fmt: skip
FOLLOW_UP = {"name": "t", "kind": "time_to_event", "unit": "day", "maximum": 9, "event": "died"}
OUTCOMES = {
    "binary": {"name": "died", "kind": "binary"},
    "multiclass": {"name": "grade", "kind": "ordinal", "levels": ["1", "2", "3"]},
    "regression": {"name": "pressure", "kind": "continuous", "unit": "mmHg", "minimum": 60, "maximum": 240},
    "count": {"name": "days", "kind": "integer", "unit": "day", "minimum": 0, "maximum": 90},
    "quantile": {"name": "pressure", "kind": "continuous", "unit": "mmHg", "minimum": 60, "maximum": 240},
    **{name: dict(FOLLOW_UP) for name in (*HAZARDS, "cox")},
}
TERMS = {"quantile": QUANTILES, "cox": COX, **HAZARDS}
MLPS = [
    {"kind": "mlp", "hidden": [7, 5], "activation": activation, "normalisation": normalisation}
    for activation in ("relu", "tanh", "gelu")
    for normalisation in ("none", "layer", "batch")
]
PIXELS = [
    {"name": f"p{n}", "kind": "continuous", "unit": "dimensionless", "minimum": 0, "maximum": 255}
    for n in range(8 * 8 * 2)
]


def study(task: str = "binary", *, model: object = None, variables: object = None, **changes: object) -> StudyManifest:
    contract = {"name": "c", "patient_key": "patient", "variables": variables or VARIABLES, "outcome": OUTCOMES[task]}
    terms = TERMS.get(task)
    if terms is not None:
        changes |= {"task_terms": terms.as_data()}
    return StudyManifest.from_data(
        manifest_data(
            task=task if terms is None else terms.task, contract=contract, model=model or {"kind": "linear"}, **changes
        )
    )


@pytest.mark.parametrize("task", OUTCOMES)
@pytest.mark.parametrize("model", [{"kind": "linear"}, {"kind": "linear", "bias": False}, MLPS[4]], ids=str)
def test_every_task(task: str, model: object) -> None:
    subject = random_model(study(task, model=model))
    assert check_parity(export_onnx(subject), subject).largest_difference < TOLERANCE


@pytest.mark.parametrize("model", MLPS, ids=str)
def test_every_fully_connected_network(model: object) -> None:
    subject = random_model(study(model=model))
    assert check_parity(export_onnx(subject), subject, patients=200).largest_difference < TOLERANCE


@pytest.mark.parametrize("normalisation", ["none", "layer", "group", "batch"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_every_convolutional_network(normalisation: str, activation: str) -> None:
    model = {"kind": "cnn", "image_shape": [2, 8, 8], "channels": [4, 6], "hidden": 5, "activation": activation,
             "normalisation": normalisation}  # fmt: skip
    subject = random_model(study("multiclass", model=model, variables=PIXELS))
    assert check_parity(export_onnx(subject), subject, patients=200).largest_difference < TOLERANCE


def _prepared(subject: StudyModel) -> StudyModel:
    from federation.data.encoding import feature_names

    width = len(feature_names(subject.manifest.contract))
    generator = np.random.default_rng(5)
    prepared = PreparedFeatures(
        centre=tuple(generator.normal(0, 0.3, width).tolist()),
        spread=tuple(generator.uniform(0.05, 2, width).tolist()),
        keep=tuple([1, 0, 1] * width)[:width],
        limit=3.0,
        rank_error=(0.0,) * width,
    )
    return StudyModel(manifest=subject.manifest, parameters=subject.parameters, prepared=prepared)


def test_the_map_of_a_paid_preparation_is_part_of_the_graph() -> None:
    plain = random_model(study(model=MLPS[0]))
    subject = _prepared(plain)
    graph = export_onnx(subject)
    assert check_parity(graph, subject).largest_difference < TOLERANCE
    with pytest.raises(ReleaseRefusedError):
        check_parity(graph, plain)


@pytest.mark.parametrize("task", OUTCOMES)
def test_a_perturbed_weight_fails_the_check(task: str) -> None:
    """Any single weight, by one part in a thousand of a standard deviation."""
    subject = random_model(study(task, model=MLPS[0]))
    graph = export_onnx(subject)
    for place in range(0, len(subject.parameters), 9):
        changed = subject.parameters.copy()
        changed[place] += 0.01
        other = StudyModel(manifest=subject.manifest, parameters=changed)
        with pytest.raises(ReleaseRefusedError):
            check_parity(export_onnx(other), subject)
        with pytest.raises(ReleaseRefusedError):
            check_parity(graph, other)


def test_a_graph_of_another_encoding_fails_the_check() -> None:
    subject = random_model(study())
    moved = [dict(variable) for variable in VARIABLES]
    moved[0] = moved[0] | {"maximum": 111}
    other = random_model(study(variables=moved))
    with pytest.raises(ReleaseRefusedError):
        check_parity(export_onnx(StudyModel(other.manifest, subject.parameters)), subject)


def test_a_model_that_is_not_finite_fails_the_check() -> None:
    subject = random_model(study())
    broken = subject.parameters.copy()
    broken[0] = np.nan
    subject = StudyModel(subject.manifest, broken)
    with pytest.raises(ReleaseRefusedError):
        check_parity(export_onnx(subject), subject)


def test_a_value_that_may_not_be_missing_gives_no_score() -> None:
    for subject in (random_model(study()), _prepared(random_model(study()))):
        graph = export_onnx(subject)
        values = generated_patients(subject.manifest.contract, 20)
        records = np.stack([values[variable["name"]] for variable in VARIABLES], axis=1)
        assert np.isfinite(run_graph(graph, records)).all()
        for column, variable in enumerate(VARIABLES):
            gap = records.copy()
            gap[3, column] = np.nan
            scores = run_graph(graph, gap)
            assert np.isnan(scores[3]) == ("missing" not in variable), variable["name"]
            assert np.isfinite(np.delete(scores, 3)).all()


def test_the_same_model_gives_the_same_bytes_and_one_record_is_enough() -> None:
    subject = random_model(study())
    graph = export_onnx(subject)
    assert graph == export_onnx(subject)
    values = generated_patients(subject.manifest.contract, 1)
    assert run_graph(graph, np.array([[values[variable["name"]][0] for variable in VARIABLES]])).shape == (1,)
    assert model_scores(subject, values).shape == (1,)


def test_generated_patients_reach_every_level_end_and_gap() -> None:
    values = generated_patients(study().contract, 1000)
    assert set(values["pain"][~np.isnan(values["pain"])]) == {0, 1, 2, 3}
    assert (values["bmi"].min(), values["bmi"].max()) == (10, 70)
    assert np.isnan(values["chol"]).any()
    assert not np.isnan(values["age"]).any()


def test_a_study_scaled_by_each_site_cannot_be_exported() -> None:
    with pytest.raises(ReleaseRefusedError, match="public facts"):
        export_onnx(random_model(study(preprocessing="site_standardised")))
