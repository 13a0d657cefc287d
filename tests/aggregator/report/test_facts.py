from dataclasses import replace

import pytest

from aggregator.report.facts import convergence, training_facts
from tests.example_report import example_manifest, example_result


def facts(**changes):
    return {fact.label: fact for fact in training_facts(example_manifest(**changes))}


def test_criteria_are_told_in_words():
    found = facts()
    assert found["Who is included"].value == "age from 18 to 90"
    assert found["Who is excluded"].value == "chol > 600"
    found = facts(
        cohort={
            "provenance": "public",
            "inclusion": [
                {"variable": "chest-pain", "operator": "in", "value": ["typical", "none"]},
                {"variable": "chol", "operator": "present"},
            ],
        }
    )
    assert found["Who is included"].value == "chest-pain is one of typical, none and chol is known"
    assert found["Who is excluded"].value == "no one"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"kind": "linear"}, "Logistic regression"),
        ({"kind": "mlp", "hidden": [16, 8]}, "hidden layers of 16 and 8 units"),
        ({"kind": "cnn", "image_shape": [1, 28, 28]}, "16 and 32 channels"),
    ],
)
def test_models_are_told_in_words(model, words):
    assert words in facts(model=model)["Model"].value


def test_a_step_is_told_by_chance_or_by_batch():
    assert facts()["A step uses"].value == "each patient with a chance of 0.1"
    assert facts(private=False)["A step uses"].value == "32 patients"


def test_options_of_optimiser_and_algorithm_are_told():
    schedule = {
        "rounds": 15,
        "local_steps": 20,
        "learning_rate_decay": 0.9,
        "optimiser": {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    }
    found = facts(schedule=schedule, algorithm={"kind": "fedadam"})
    assert found["Local optimiser"].value == "SGD, learning rate 0.1"
    for words in ("momentum 0.9", "weight decay 0.01", "times 0.9 after every round"):
        assert words in found["Local optimiser"].explanation
    assert "beta 1 0.9" in found["Algorithm"].explanation


def test_figures_that_are_not_finite_are_left_out_of_the_rounds():
    result = example_result(example_manifest())
    broken = replace(
        result.rounds[0],
        metrics={"auroc": float("nan"), "log_loss": 0.5},
        site_metrics={"cleveland": {"auroc": float("inf")}},
    )
    found = convergence(replace(result, rounds=(broken, *result.rounds[1:])))
    assert found[0].metrics == {"log_loss": 0.5}
    assert found[0].site_metrics == {"cleveland": {}}
    assert len(found) == 15
