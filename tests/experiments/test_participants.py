import numpy as np

from experiments.participants import outcome_levels, participants, readiness_verdicts
from experiments.predictions import Scored
from tests.example_report import LEVELS, SITES, example_manifest


def of(task, outcomes):
    manifest = example_manifest(task)
    test = Scored(task, np.zeros(len(outcomes)), np.asarray(outcomes, float), np.arange(len(outcomes)))
    return participants(manifest, {"federated": {"cleveland": test}}, {}, {"cleveland": 12})


def test_case_mix_is_told_in_words():
    assert of("binary", [0, 1, 1, 1])[0].outcome == "75%"
    assert of("multiclass", [0, 1, 1, 2])[0].outcome == "none 25%, mild 50%, severe 25%"
    assert of("regression", [100, 140])[0].outcome == "mean 120 (SD 20)"
    assert of("binary", [])[0].outcome == ""


def test_what_is_not_known_is_not_made_up():
    first, *others = of("binary", [0, 1])
    assert (first.training_patients, first.test_patients, first.flow) == (12, 2, ())
    assert len(others) == len(SITES) - 1
    assert all(entry.training_patients is None and entry.test_records is None for entry in others)


def test_levels_of_coded_outcomes_only():
    assert outcome_levels(example_manifest("multiclass").contract) == LEVELS
    assert outcome_levels(example_manifest("binary").contract) == ()


def test_verdicts_keep_their_order():
    found = readiness_verdicts({"b": {"age": True, "chol": False}, "a": {"age": True}})
    assert [(entry.site, entry.passed) for entry in found] == [("b", False), ("a", True)]
