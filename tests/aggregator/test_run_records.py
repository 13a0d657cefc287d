"""What a run's records say, in names that MLflow takes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.run_records import (
    MAX_KEY,
    MAX_VALUE,
    baseline_record,
    clean_key,
    figures_record,
    flatten,
    round_record,
    status_record,
    study_record,
)
from tests.aggregator.tracked_run import round_result
from tests.small_study import SITES, manifest, private


def test_parameters_are_the_manifest_with_dotted_names() -> None:
    study = manifest(privacy=private(epsilon=4.0))
    flat = flatten(study)
    assert flat["privacy.epsilon"] == "4.0"
    assert flat["schedule.rounds"] == "4"
    assert flat["schedule.optimiser.learning_rate"] == "0.5"
    assert flat["algorithm.kind"] == "fedavg"
    assert flat["roster.sites"] == "north, south, west"
    assert flat["contract.digest"] == study.contract.digest
    assert all(isinstance(value, str) and len(value) <= MAX_VALUE for value in flat.values())


def test_a_long_question_is_cut_and_no_parameter_is_lost() -> None:
    record = study_record(manifest(question="why " * 1000), tags={})
    assert len(record.parameters["question"]) == MAX_VALUE
    assert record.parameters["question"].endswith("…")


def test_tags_name_digest_versions_and_seed() -> None:
    study = manifest()
    record = study_record(study, tags={"cohortium.seed": "3", "cohortium.name": "trial"})
    assert record.tags["cohortium.manifest_digest"] == study.digest
    assert record.tags["cohortium.seed"] == "3"
    assert {"cohortium.version", "torch.version", "flwr.version", "opacus.version"} <= set(record.tags)
    assert record.name == "trial · seed 3"
    assert study_record(study, tags={}).name == "small"


def test_a_round_says_what_was_released_and_no_more() -> None:
    record = round_record(round_result(3, dropouts={"west": "deadline"}))
    assert record.step == 3
    assert record.metrics["round/auroc"] == 0.703
    assert record.metrics["site/south/auroc"] == 0.703
    assert record.metrics["site/north/contributed"] == 1.0
    assert record.metrics["site/west/contributed"] == 0.0
    assert record.metrics["round/dropouts"] == 1.0
    assert record.metrics["privacy/epsilon_spent/north"] == 3.0
    assert record.metrics["privacy/epsilon_spent_max"] == 3.0
    assert record.tags["cohortium.model_digest"] == f"sha256:{3:064d}"


def test_a_study_without_site_metrics_and_privacy_has_none_in_its_records() -> None:
    names = round_record(round_result(1, per_site=False, epsilon=False)).metrics
    assert not [name for name in names if name.startswith("privacy/")]
    assert {name for name in names if name.startswith("site/")} == {f"site/{site}/contributed" for site in SITES}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_a_tag(value) -> None:
    strange = {"auroc": value, "accuracy": 0.5}
    record = round_record(round_result(2, metrics=strange))
    assert "round/auroc" not in record.metrics
    assert record.metrics["round/accuracy"] == 0.5
    named = record.tags["cohortium.not_finite.round-2"].split(", ")
    assert named == ["round/auroc", "site/north/auroc", "site/south/auroc", "site/west/auroc"]
    for other in (baseline_record("pooled", strange, parameters={}), figures_record(strange)):
        assert other.metrics == {"accuracy": 0.5}
        assert "auroc" in "".join(other.tags.values())


def test_a_baseline_is_a_finished_child() -> None:
    record = baseline_record("pooled", {"auroc": 0.8}, parameters={"epochs": "3"})
    assert (record.child, record.name, record.status) == ("pooled", "pooled", "FINISHED")
    assert record.parameters == {"epochs": "3"}


def test_every_status_has_a_word_in_mlflow() -> None:
    words = [status_record(status).status for status in (None, "finished", "failed", "interrupted")]
    assert words == ["RUNNING", "FINISHED", "FAILED", "KILLED"]


@given(st.text(max_size=400))
def test_any_name_becomes_one_that_mlflow_takes(name) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    cleaned = clean_key(name)
    assert 0 < len(cleaned) <= MAX_KEY
    assert clean_key(cleaned) == cleaned
    _validate_metric_name(cleaned)
    _validate_param_name(cleaned)
    _validate_tag_name(cleaned)
