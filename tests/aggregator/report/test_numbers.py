import pytest

from aggregator.report.content import Estimate, SeedSpread
from aggregator.report.numbers import Numbers
from tests.example_report import example_report


@pytest.fixture(scope="module")
def numbers():
    return Numbers(example_report())


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.8765, "auroc", "0.88"),
        (0.1234, "brier", "0.123"),
        (0.031, "risk_excess", "+0.03"),
        (-0.031, "risk_excess", "−0.03"),
        (-0.0001, "risk_excess", "0.00"),
        (0.4, "prevalence", "0.40"),
    ],
)
def test_digits_and_signs(numbers, value, metric, text):
    assert numbers.number(value, metric) == text


def test_many_patients_deserve_a_third_digit():
    assert Numbers(example_report(sites={"a": 700, "b": 600})).number(0.87654, "auroc") == "0.877"


def test_figures_in_the_outcomes_unit_share_the_digits_of_the_largest():
    numbers = Numbers(example_report("regression"))
    assert numbers.number(13.4567, "rmse") == "13.5"
    assert numbers.number(-0.3061, "mean_error") == "−0.3"
    assert numbers.round_number(0.123456, "rmse") == "0.123"


def test_an_estimate_shows_its_interval_or_why_it_has_none(numbers):
    found = numbers.estimate(Estimate(value=0.8, lower=0.7, upper=0.9), "auroc")
    assert found == '<b>0.80</b><span class="interval">0.70 to 0.90</span>'
    assert "one outcome class" in numbers.estimate(
        Estimate(value=None, note="not defined (one outcome class)"), "auroc"
    )
    assert "–" in numbers.estimate(None, "auroc")


def test_notes_are_escaped(numbers):
    assert "<script>" not in numbers.estimate(Estimate(value=0.5, note="<script>"), "auroc")
    assert "<script>" not in numbers.estimate(Estimate(value=None, note="<script>"), "auroc")


def test_a_spread_over_seeds(numbers):
    spread = SeedSpread(values=(0.8, 0.82), mean=0.81, lower=0.79, upper=0.83)
    assert "0.79 to 0.83" in numbers.spread(spread, "auroc")
    assert "–" in numbers.spread(None, "auroc")


def test_a_figure_below_one_is_not_shown_as_perfect(numbers):
    report = numbers.report
    first = report.performance[0]
    near = first.model_copy(update={"overall": first.overall | {"auroc": Estimate(value=0.9962)}})
    assert Numbers(report.model_copy(update={"performance": (near,)})).number(0.9962, "auroc") == "0.996"
    perfect = first.model_copy(update={"overall": first.overall | {"auroc": Estimate(value=1.0)}})
    assert Numbers(report.model_copy(update={"performance": (perfect,)})).number(1.0, "auroc") == "1.00"
