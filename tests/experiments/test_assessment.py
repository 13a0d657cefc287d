from dataclasses import replace

import numpy as np
import pytest

from aggregator.report.content import BinaryCurves, MulticlassCurves, RegressionCurves, StudyReport
from experiments.assessment import assess
from experiments.predictions import SitePredictions
from federation.errors import PrivacyRefusedError
from site_client.patients import Attrition
from tests.example_report import (
    QUALITY,
    RUN,
    SITES,
    example_manifest,
    example_predictions,
    example_report,
    example_result,
)


@pytest.fixture(scope="module")
def report() -> StudyReport:
    return example_report()


def test_settings_come_in_their_usual_order_whatever_order_they_were_given_in(report):
    assert tuple(QUALITY) != tuple(entry.setting for entry in report.performance)
    assert [entry.setting for entry in report.performance] == [
        "local_only",
        "federated",
        "federated_non_private",
        "cyclic",
        "pooled",
    ]


def test_better_models_are_reported_as_better(report):
    values = {entry.setting: entry.overall["auroc"].value for entry in report.performance}
    assert values["local_only"] < values["federated"] < values["federated_non_private"] <= values["pooled"]


def test_every_site_and_every_figure_is_there(report):
    assert [entry.site for entry in report.participants] == list(SITES)
    for setting in report.performance:
        assert [entry.site for entry in setting.sites] == list(SITES)
        assert set(setting.overall) == set(setting.sites[0].metrics) == set(setting.mean_of_sites)
    assert [entry.setting for entry in report.curves] == [entry.setting for entry in report.performance]
    assert all(isinstance(entry, BinaryCurves) for entry in report.curves)


def test_a_one_class_site_is_not_defined_instead_of_nan(report):
    found = report.setting("federated").sites[-1].metrics["auroc"]
    assert (found.value, found.note) == (None, "not defined (one outcome class)")


def test_flow_readiness_and_rounds_are_told(report):
    first = report.participants[0]
    assert [(step.step, step.records, step.patients) for step in first.flow][-1] == ("complete", 600, 300)
    assert (first.test_patients, first.test_records) == (104, 208)
    assert not report.readiness[0].passed
    assert all(entry.passed for entry in report.readiness[1:])
    assert len(report.convergence) == 15
    assert report.convergence[3].dropouts == {"cleveland": "unreachable"}


def test_references_of_a_private_study_say_that_they_are_not(report):
    explanations = {entry.setting: entry.explanation for entry in report.performance}
    assert "without privacy" in explanations["pooled"]
    assert "without privacy" not in explanations["federated"]
    assert "without privacy" not in example_report(private=False).setting("pooled").explanation


def test_the_report_survives_its_json(report):
    text = report.model_dump_json()
    assert "NaN" not in text
    assert StudyReport.from_json(text) == report


def test_the_same_generator_gives_the_same_report(report):
    assert example_report().digest == report.digest
    assert example_report(seed=8).digest != report.digest


def test_repetitions_give_a_spread_over_seeds(report):
    assert report.performance[0].over_seeds == {}
    found = example_report(seeds=3).setting("federated").over_seeds["auroc"]
    assert len(found.values) == 3
    assert found.lower < found.mean < found.upper


def test_multiclass_and_regression_have_their_own_figures():
    severe = example_report("multiclass")
    assert all(isinstance(entry, MulticlassCurves) for entry in severe.curves)
    assert sum(map(sum, severe.curves[0].confusion)) == 2 * sum(SITES.values())
    pressure = example_report("regression")
    assert all(isinstance(entry, RegressionCurves) for entry in pressure.curves)
    # Scores arrive scaled to the public range; the report is in the contract's unit, 60 to 240 mmHg.
    assert 100 < pressure.curves[0].bins[0].predicted < 240
    assert pressure.setting("federated").overall["rmse"].value > 5
    assert (pressure.outcome_unit, pressure.primary_metric) == ("mmHg", "rmse")


def test_descriptions_replace_the_usual_explanation():
    found = example_report(run=replace(RUN, descriptions={"pooled": "Adam, 50 epochs."}))
    assert found.setting("pooled").explanation == "Adam, 50 epochs."


def test_without_draws_no_interval():
    found = example_report(run=replace(RUN, bootstrap_samples=0))
    assert found.setting("federated").overall["auroc"].lower is None


def build(manifest, predictions, **changes):
    arguments = {
        "result": example_result(manifest, metrics=False),
        "predictions": predictions,
        "attrition": {site: Attrition(steps=(("read", 900, 400),)) for site in SITES},
        "readiness": {site: {"age": True} for site in SITES},
        "run": replace(RUN, training_patients=dict.fromkeys(SITES, 77)),
        "generator": np.random.default_rng(0),
    }
    return assess(manifest, **(arguments | changes))


def test_a_study_of_real_patients_shows_pass_or_fail_and_no_count():
    found = build(example_manifest(provenance="patients"), {})
    assert all(entry.flow == () for entry in found.participants)
    assert all(entry.training_patients is None and entry.test_patients is None for entry in found.participants)
    assert found.readiness[0].passed
    assert found.performance == ()
    assert found.curves == ()


def test_predictions_of_real_patients_are_refused():
    predictions = example_predictions("binary", np.random.default_rng(0))
    with pytest.raises(PrivacyRefusedError, match="provenance 'patients'"):
        build(example_manifest(provenance="patients"), predictions)


def test_a_setting_tested_on_other_records_is_marked():
    manifest = example_manifest()
    predictions = example_predictions("binary", np.random.default_rng(0))
    predictions["pooled"] = tuple(
        SitePredictions(entry.site, entry.scores[:-1], entry.outcomes[:-1], entry.patient_index[:-1])
        for entry in predictions["pooled"]
    )
    found = build(manifest, predictions)
    assert "other records" in found.setting("pooled").explanation
    assert "other records" not in found.setting("local_only").explanation


def test_sites_are_in_roster_order():
    manifest = example_manifest()
    predictions = example_predictions("binary", np.random.default_rng(0))
    backwards = {name: tuple(reversed(sites)) for name, sites in predictions.items()}
    assert [entry.site for entry in build(manifest, backwards).performance[0].sites] == list(SITES)
