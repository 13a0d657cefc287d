"""What a study can agree on about exact statistics, and which steps that allows."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import ManifestError
from federation.statistics.counts import CountStep
from federation.statistics.requests import StepRequest
from federation.study.manifest import StudyManifest
from tests.small_study import manifest, private
from tests.statistics_bench import CONTRACT, deal, parts
from tests.statistics_study import ANALYSES, PATIENTS, agreed, statistics_manifest, values


def steps_of(study, analysis):
    """Every step that the solver asks for, with the answers of four sites."""
    tables = parts(values(), deal(PATIENTS, 4))
    solver = analysis.solver(CONTRACT, patients=PATIENTS, threshold=study.statistics.threshold)
    try:
        step = next(solver)
        while True:
            yield step
            step = solver.send(step.parts(sum(step.answer(columns) for columns in tables)))
    except StopIteration:
        return


def request(study, analysis, step):
    return StepRequest(terms=study.digest, number=1, selection=analysis.selection, step=step)


@pytest.mark.parametrize("name", ANALYSES)
def test_an_analysis_allows_exactly_the_steps_of_its_own_solver(tmp_path, name):
    others = [other for other in ANALYSES if other != name]
    study = statistics_manifest(tmp_path, name)
    wide = statistics_manifest(tmp_path, *others)
    (analysis,) = study.statistics.analyses
    asked = list(steps_of(study, analysis))
    assert asked
    assert all(study.statistics.allows(request(study, analysis, step), CONTRACT) for step in [CountStep(), *asked])
    for other in wide.statistics.analyses:
        for step in steps_of(wide, other):
            if not any(type(step) is type(mine) and step.fixed() == mine.fixed() for mine in asked):
                assert not study.statistics.allows(request(study, analysis, step), CONTRACT)


def test_coefficients_are_the_solvers_choice_and_columns_are_not(tmp_path):
    study = statistics_manifest(tmp_path, "deaths")
    (analysis,) = study.statistics.analyses
    *_, score = steps_of(study, analysis)
    moved = score.model_copy(update={"coefficients": tuple(np.zeros(len(score.coefficients)).tolist())})
    fewer = score.model.design.model_copy(update={"columns": score.model.design.columns[:-1]})
    narrowed = score.model_copy(update={"model": score.model.model_copy(update={"design": fewer})})
    assert analysis.allows(moved, CONTRACT)
    assert not analysis.allows(narrowed, CONTRACT)


def test_a_manifest_without_statistics_has_the_digest_that_it_had(tmp_path):
    assert "statistics" not in manifest().as_data()
    study = statistics_manifest(tmp_path, "wards")
    assert StudyManifest.from_data(study.as_data()).digest == study.digest


def changed(study, **fields):
    return study.as_data() | fields


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: changed(s, aggregation={"mode": "plain", "quorum": 3}), "secure aggregation"),
        (
            lambda s: changed(s, statistics={"analyses": [agreed("wards", ANALYSES["wards"])] * 2}),
            "under a name of its own",
        ),
        (
            lambda s: changed(
                s,
                cohort={"provenance": "patients"},
                statistics=s.as_data()["statistics"] | {"threshold": 2},
            ),
            "threshold of at least 3",
        ),
        (lambda s: changed(s, statistics={"analyses": []}), "at least 1"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(tmp_path, change, message):
    study = statistics_manifest(tmp_path, "wards")
    with pytest.raises(ManifestError, match=message):
        StudyManifest.from_data(change(study))


def test_exact_statistics_break_no_promise_to_patients(tmp_path):
    study = statistics_manifest(tmp_path, "wards")
    with pytest.raises(ManifestError, match="a study of its own"):
        StudyManifest.from_data(changed(study, privacy=private(steps=1)))


def test_a_variable_of_the_contract_must_be_known_where_it_is_needed(tmp_path):
    study = statistics_manifest(tmp_path, "wards")
    data = study.as_data()
    data["statistics"]["analyses"][0]["selection"]["complete"] = ["ward"]
    with pytest.raises(ManifestError, match="died"):
        StudyManifest.from_data(data)
    data = study.as_data()
    data["statistics"]["analyses"][0]["rows"] = "blood"
    with pytest.raises(ManifestError, match="blood"):
        StudyManifest.from_data(data)
