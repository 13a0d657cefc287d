"""A paid evaluation at the site: its sensitivity by brute force, and that nothing but noisy whole numbers leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.errors import InternalError, PrivacyRefusedError
from federation.identifiers import TaskKind
from federation.models.metrics import metric_sums
from federation.models.noisy_metrics import check_counts, split_counts
from federation.models.parameters import flatten
from federation.privacy.randomness import RandomStreams
from federation.protocol.messages import Envelope, EvaluateReply, EvaluateRequest, Refusal, read_envelope
from federation.study.evaluation_tables import count_layout, expected_counts
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.evaluation import predict
from site_client.paid_evaluation import exact_counts, first_records, release_counts
from site_client.patients import PatientDataset, SiteData
from tests.paid_study import fixed_model, paid_manifest, records_of
from tests.small_study import manifest, site_folders

TASKS: tuple[TaskKind, ...] = ("binary", "multiclass", "regression")
STREAMS = RandomStreams(bytes(range(32)))


def _exact(study: StudyManifest, dataset: PatientDataset, *, weight: float = 1.0) -> np.ndarray:
    assert study.evaluation.noise is not None
    return exact_counts(fixed_model(study, weight=weight), dataset, manifest=study, noise=study.evaluation.noise)


def _without(dataset: PatientDataset, patient: int) -> PatientDataset:
    return dataset.patients(np.flatnonzero(np.arange(dataset.num_patients) != patient))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("most", [1, 3])
@given(
    per_patient=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    seed=st.integers(0, 10_000),
    drawn=st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_one_patient_moves_the_tables_by_at_most_the_sensitivity(
    task: TaskKind, most: int, per_patient: list[int], seed: int, drawn: int
) -> None:
    study = paid_manifest(task, records=most)
    event = study.evaluation_event()
    assert event is not None
    dataset = records_of(study, per_patient, seed=seed)
    patient = drawn % len(per_patient)
    moved = _exact(study, dataset) - _exact(study, _without(dataset, patient))
    assert (moved >= 0).all()
    assert moved.sum() == min(per_patient[patient], most) * 4  # overall and three subgroup variables
    assert np.square(moved).sum() <= event.sensitivity_squared


def test_the_sensitivity_is_reached() -> None:
    study = paid_manifest(records=3)
    dataset = records_of(study, [3, 1])
    same = PatientDataset(
        features=np.repeat(dataset.features[:1], 4, axis=0),
        outcomes=np.ones(4, dtype=np.float32),
        patient_index=dataset.patient_index,
        feature_names=dataset.feature_names,
    )
    moved = _exact(study, same) - _exact(study, _without(same, 0))
    event = study.evaluation_event()
    assert event is not None
    assert np.square(moved).sum() == event.sensitivity_squared == 9 * 4


@pytest.mark.parametrize("task", TASKS)
def test_every_kept_record_counts_once_in_every_variable(task: TaskKind) -> None:
    study = paid_manifest(task)
    dataset = records_of(study, [1] * 50 + [4] * 10)
    found = split_counts(count_layout(study), _exact(study, dataset))
    totals = {name.rsplit("/", 1)[0]: 0.0 for name in found}
    for name, counts in found.items():
        totals[name.rsplit("/", 1)[0]] += counts.sum()
    assert totals["overall"] == 60
    for variable in ("sex", "ward", "stage"):
        assert sum(total for name, total in totals.items() if name.startswith(f"subgroup/{variable}/")) == 60


def test_binary_tables_are_the_exact_histograms() -> None:
    study = paid_manifest()
    dataset = records_of(study, [1] * 200)
    found = split_counts(count_layout(study), _exact(study, dataset))
    scores = predict(fixed_model(study), dataset, task="binary")
    exact = metric_sums("binary", scores, dataset.outcomes, score_bins=10).arrays
    np.testing.assert_array_equal(found["overall/negative"], exact["negative_histogram"])
    np.testing.assert_array_equal(found["overall/positive"], exact["positive_histogram"])
    chosen = dataset.features[:, dataset.feature_names.index("ward=surgery")] == 1
    part = metric_sums("binary", scores[chosen], dataset.outcomes[chosen], score_bins=10).arrays
    np.testing.assert_array_equal(found["subgroup/ward/surgery/positive"], part["positive_histogram"])
    reference = dataset.features[:, [dataset.feature_names.index(f"ward={x}") for x in ("surgery", "other")]]
    assert found["subgroup/ward/a/b/negative"].sum() == (dataset.outcomes[(reference == 0).all(axis=1)] == 0).sum()


def test_ordinal_levels_are_found_again() -> None:
    study = paid_manifest()
    dataset = records_of(study, [1] * 90)
    found = split_counts(count_layout(study), _exact(study, dataset))
    stages = dataset.features[:, dataset.feature_names.index("stage")]
    for level, code in (("i", -1.0), ("ii", 0.0), ("iii", 1.0)):
        counted = found[f"subgroup/stage/{level}/negative"].sum() + found[f"subgroup/stage/{level}/positive"].sum()
        assert counted == (stages == code).sum() > 0


def test_multiclass_is_the_exact_confusion() -> None:
    study = paid_manifest("multiclass")
    dataset = records_of(study, [1] * 100)
    found = split_counts(count_layout(study), _exact(study, dataset))["overall/confusion"]
    scores = predict(fixed_model(study), dataset, task="multiclass")
    exact = metric_sums("multiclass", scores, dataset.outcomes, score_bins=10).arrays["confusion"]
    np.testing.assert_array_equal(found, exact)


def test_the_first_records_of_a_patient_count() -> None:
    index = np.array([0, 0, 0, 1, 2, 2])
    np.testing.assert_array_equal(first_records(index, 1), [0, 3, 4])
    np.testing.assert_array_equal(first_records(index, 2), [0, 1, 3, 4, 5])
    assert len(first_records(np.zeros(0, dtype=np.int64), 2)) == 0


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_scores_that_are_not_finite_have_a_fixed_cell(task: TaskKind, weight: float) -> None:
    study = paid_manifest(task)
    dataset = records_of(study, [1] * 30)
    counts = _exact(study, dataset, weight=weight)
    assert counts.sum() == 30 * 4
    if np.isnan(weight):
        other = _exact(study, records_of(study, [1] * 30, seed=9), weight=weight)
        width = count_layout(study).score_bins if task != "multiclass" else 3
        shape = (-1, width)
        # Whatever the records, all are in the same bin of scores.
        np.testing.assert_array_equal(counts.reshape(shape).sum(axis=0) > 0, other.reshape(shape).sum(axis=0) > 0)
        assert (counts.reshape(shape).sum(axis=0) > 0).sum() == 1


@pytest.mark.parametrize("task", TASKS)
def test_what_leaves_is_whole_numbers_of_the_expected_names_and_nothing_else(task: TaskKind) -> None:
    study = paid_manifest(task)
    dataset = records_of(study, [1] * 40)
    found = release_counts(fixed_model(study), dataset, manifest=study, generator=STREAMS.stream("release", task))
    assert {name: len(vector) for name, vector in found.items()} == expected_counts(study)
    assert list(found) == list(expected_counts(study))
    check_counts(count_layout(study), found)
    assert all(vector.dtype == np.float64 and vector.ndim == 1 for vector in found.values())
    # Only the names of tables: neither losses nor sums of errors nor gradients.
    assert {name.rsplit("/", 1)[1] for name in found} <= {"negative", "positive", "confusion", "error_by_outcome"}
    assert not np.array_equal(np.concatenate(list(found.values())), _exact(study, dataset))


def test_a_site_without_test_patients_releases_pure_noise() -> None:
    study = paid_manifest(variance=400)
    found = release_counts(fixed_model(study), records_of(study, []), manifest=study, generator=STREAMS.stream("empty"))
    noise = np.concatenate(list(found.values()))
    assert noise.std() == pytest.approx(20, rel=0.2)
    assert (noise < 0).any()


def test_noise_has_the_manifests_variance_and_no_bias() -> None:
    study = paid_manifest(variance=50, subgroups=())
    dataset, model = records_of(study, [1] * 40), fixed_model(study)
    exact = _exact(study, dataset)
    draws = np.array(
        [
            np.concatenate(list(release_counts(model, dataset, manifest=study, generator=STREAMS.stream(n)).values()))
            for n in range(400)
        ]
    )
    errors = draws - exact
    assert abs(errors.mean()) < 4 * np.sqrt(50 / errors.size)
    assert errors.var() == pytest.approx(50, rel=4 * np.sqrt(2 / errors.size))


def test_a_study_that_pays_for_no_evaluation_releases_no_counts() -> None:
    study = paid_manifest()
    for other in (
        manifest(),
        study.model_copy(update={"evaluation": study.evaluation.model_copy(update={"release": "none"})}),
    ):
        with pytest.raises(PrivacyRefusedError, match="pays for evaluation"):
            release_counts(fixed_model(study), records_of(study, [1]), manifest=other, generator=STREAMS.stream("x"))


def test_features_of_another_encoding_are_refused() -> None:
    study = paid_manifest()
    dataset = records_of(study, [1, 1])
    renamed = tuple(name.replace("sex", "gender") for name in dataset.feature_names)
    other = PatientDataset(dataset.features, dataset.outcomes, dataset.patient_index, renamed)
    with pytest.raises(InternalError, match="'sex'"):
        _exact(study, other)


@pytest.mark.parametrize("task", TASKS)
def test_the_reply_of_a_private_study_holds_no_raw_loss(task: TaskKind, tmp_path: Path) -> None:
    study = paid_manifest(task)

    def data(site: str) -> SiteData:
        return SiteData(site=site, training=records_of(study, [1] * 40), test=records_of(study, [1] * 30, seed=1))

    agent = SiteAgent(site_folders(tmp_path, study, data=data)["south"])
    parameters = flatten(fixed_model(study)).astype(np.float32)
    request = EvaluateRequest(study=study.digest, site="south", round_number=2)
    reply = read_envelope(agent.handle(Envelope(request, {"parameters": parameters}).to_bytes()))
    assert isinstance(reply.header, EvaluateReply)
    assert set(reply.header.as_data()) == {"kind", "study", "site", "round_number", "event", "head"}
    assert {name: len(array) for name, array in reply.arrays.items()} == {
        f"counts/{name}": length for name, length in expected_counts(study).items()
    }
    assert all(np.array_equal(array, np.rint(array)) for array in reply.arrays.values())
    # Asked after a round that the study does not evaluate, the site says nothing.
    early = EvaluateRequest(study=study.digest, site="south", round_number=1)
    refused = read_envelope(agent.handle(Envelope(early, {"parameters": parameters}).to_bytes()))
    assert isinstance(refused.header, Refusal)
    assert refused.arrays == {}
