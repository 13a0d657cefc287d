import numpy as np

from aggregator.report.vocabulary import METRICS, PRIMARY_METRIC, SETTINGS, metric_of, ordered_settings, setting_of
from experiments.performance import point_metrics
from experiments.predictions import scored
from tests.example_report import example_predictions


def test_every_metric_that_is_computed_has_words():
    for task in ("binary", "multiclass", "regression"):
        [site] = example_predictions(task, np.random.default_rng(0), sites={"a": 30}, settings=("federated",))[
            "federated"
        ]
        found = set(point_metrics(scored(task, site)))
        assert found <= set(METRICS)
        assert PRIMARY_METRIC[task] in found
        assert all(metric_of(name).explanation for name in found)


def test_unknown_names_are_shown_as_they_are():
    assert metric_of("c_index").title == "C index"
    assert setting_of("split_learning").title == "Split learning"
    assert ordered_settings(("split_learning", "pooled", "local_only")) == ("local_only", "pooled", "split_learning")


def test_only_the_federated_setting_becomes_private():
    assert setting_of("federated", private=True).title == "Federated, private"
    assert all(setting_of(name, private=True) == SETTINGS[name] for name in SETTINGS if name != "federated")
