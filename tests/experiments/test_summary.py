import numpy as np
import pytest

from experiments.predictions import SitePredictions
from experiments.summary import FEDERATED_AT_POOLED, POOLED_AT_SITES, compare_with_published, summary_rows


def predictions(wrong, *, sites=("a", "b")):
    """Each site has ten records; the first `wrong` of them are predicted wrongly."""
    outcomes = np.tile([0.0, 1.0], 5)
    scores = np.where(np.arange(10) < wrong, 1 - outcomes, outcomes) * 0.8 + 0.1
    return tuple(SitePredictions(site, scores, outcomes, np.arange(10)) for site in sites)


def test_means_and_intervals_are_over_seeds():
    (row,) = summary_rows("binary", [{"federated": predictions(wrong)} for wrong in (1, 2, 3)])
    assert row.by_seed["accuracy"] == pytest.approx((0.9, 0.8, 0.7))
    assert row.metrics["accuracy"] == pytest.approx(0.8)
    # Student: 0.8 ± 4.302653 * 0.1 / sqrt(3)
    assert row.interval["accuracy"] == pytest.approx((0.8 - 0.248414, 0.8 + 0.248414), abs=1e-5)


def test_one_seed_has_no_interval():
    (row,) = summary_rows("binary", [{"federated": predictions(1)}])
    assert row.interval == {}


def test_mean_of_sites_counts_every_site_the_same():
    outcomes = np.tile([0.0, 1.0], 50)
    large = SitePredictions("large", outcomes * 0.8 + 0.1, outcomes, np.arange(100))
    (row,) = summary_rows("binary", [{"federated": (large, *predictions(5, sites=("small",)))}])
    assert row.metrics["mean_site_accuracy"] == pytest.approx(0.75)
    assert row.metrics["accuracy"] == pytest.approx(105 / 110)


def test_a_one_class_site_has_no_auroc_and_does_not_break_the_mean():
    one_class = SitePredictions("c", np.full(4, 0.9), np.ones(4), np.arange(4))
    (row,) = summary_rows("binary", [{"federated": (*predictions(0), one_class)}])
    assert "auroc" not in row.per_site["c"]
    assert row.metrics["mean_site_auroc"] == pytest.approx(1.0)


def test_published_figures_are_compared_on_the_scaling_they_were_published_on():
    run = {
        "federated": predictions(1),
        FEDERATED_AT_POOLED: predictions(2),
        "pooled": predictions(3),
        POOLED_AT_SITES: predictions(4),
    }
    rows = summary_rows("binary", [run])
    expected = {
        "fedavg.pooled_test.accuracy": (0.8, 0.01),
        "fedavg.a.accuracy": (0.9, 0.01),
        "pooled.pooled_test.accuracy": (0.7, 0.01),
        "pooled.a.accuracy": (0.9, 0.01),
        "scaffold.a.accuracy": (0.9, 0.01),
    }
    found = {entry.name: entry for entry in compare_with_published(expected, rows, algorithm="fedavg")}
    assert found["fedavg.pooled_test.accuracy"].within
    assert found["fedavg.a.accuracy"].within
    assert found["pooled.pooled_test.accuracy"].within
    assert found["pooled.a.accuracy"].here == pytest.approx(0.6)
    assert not found["pooled.a.accuracy"].within
    assert found["scaffold.a.accuracy"].here is None
    assert not found["scaffold.a.accuracy"].within
