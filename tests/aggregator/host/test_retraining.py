"""Training again without a site: which models are kept for it, which are without the site, and what the others pay once more."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.coordinator import digest_of
from aggregator.host.launching import coordinator_key
from aggregator.host.starting_point import KeptCheckpoints, kept_rounds, parameters_after
from aggregator.host.study_place import StudyPlace
from aggregator.host.withdrawal_text import withdrawal_text
from aggregator.host.withdrawing import chosen_start, next_version_without, what_withdrawal_means, withdraw, write_draft
from aggregator.manifest_file import read_manifest_file
from federation.errors import CheckpointError, InvalidInputError, ManifestError
from federation.governance.starting import StartingModel, check_start
from federation.privacy.accounting import epsilon_of
from tests.aggregator.host.consortium import Consortium
from tests.aggregator.host.launched_study import approval_of, enrolled, proposal_of, study_of
from tests.aggregator.host.test_study_status import result
from tests.small_study import private

ROUNDS, DONE, DELTA = 8, 7, 1e-3
SCHEDULE = {
    "rounds": ROUNDS, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}, "learning_rate_decay": 0.9,
}  # fmt: skip


def parameters(number: int) -> np.ndarray:
    return np.full(5, number / 8)


def committed(store: CheckpointStore, who) -> None:
    """Rounds with these contributors."""
    history = ()
    for number, sites in enumerate(who, start=1):
        digest = digest_of(parameters(number).astype(np.float32))
        history = (*history, result(number, contributors=sites, model_digest=digest))
        counted = {site: sum(site in done.contributors for done in history) for site in ("north", "south", "west")}
        store.save(
            CoordinatorState(
                round_number=number,
                parameters=parameters(number),
                server={},
                rounds_contributed=counted,
                history=history,
            )
        )


@pytest.fixture
def launched(tmp_path):
    """Seven of eight rounds; south missed the second, and west came in the fourth."""

    def make(**changes):
        consortium = Consortium(tmp_path / "authority")
        sites = enrolled(consortium)
        layout, _ = consortium.host(tmp_path / "host")
        privacy = private(epsilon=4.0, delta=DELTA, steps=3 * ROUNDS)
        settings = {"aggregation": {"quorum": 2}, "schedule": SCHEDULE, "privacy": privacy} | changes
        study = study_of(sites, **settings)
        signed = proposal_of(study, coordinator=coordinator_key(layout).public_key)
        place = StudyPlace.of(layout, study.digest)
        place.keep(signed, [approval_of(signed, site) for site in sites.values()])
        both, everybody = ("north", "south"), ("north", "south", "west")
        committed(KeptCheckpoints(place.checkpoints, study), (both, ("north",), both, *[everybody] * 4))
        return layout, place

    return make


def test_the_model_before_each_first_contribution_is_kept_beside_the_last_two(launched):
    _, place = launched()
    assert kept_rounds(place) == (3, 6, 7)
    for number in kept_rounds(place):
        np.testing.assert_array_equal(parameters_after(place, number), parameters(number))
    for number in (0, 2, 8):
        with pytest.raises(CheckpointError):
            parameters_after(place, number)


def test_a_kept_model_that_is_another_is_refused(launched):
    _, place = launched()
    (place.checkpoints / "kept-000003.safetensors").write_bytes(
        (place.checkpoints / "round-000006.safetensors").read_bytes()
    )
    with pytest.raises(CheckpointError, match="history names"):
        parameters_after(place, 3)


def test_only_models_without_the_site_can_be_a_start(launched):
    _, place = launched()
    west, south = (what_withdrawal_means(place, site) for site in ("west", "south"))
    assert (west.clean_round, dict(west.starts)) == (3, {3: digest_of(parameters(3).astype(np.float32))})
    assert (south.clean_round, dict(south.starts)) == (0, {})
    assert "first round" in south.reason_to_begin_anew
    assert (chosen_start(west, None), chosen_start(west, 0), chosen_start(south, None)) == (3, 0, 0)
    for wanted in (2, 6):
        with pytest.raises(InvalidInputError, match="without west"):
            chosen_start(west, wanted)


def test_without_a_kept_model_the_next_version_begins_anew(launched):
    _, place = launched()
    (place.checkpoints / "kept-000003.safetensors").unlink()
    found = what_withdrawal_means(place, "west")
    assert dict(found.starts) == {}
    assert "no model of rounds 1 to 3 is kept" in withdrawal_text(found, draft=None)


def test_what_the_others_pay_is_composed_event_by_event(launched):
    """Against the composition of the events themselves, one by one."""
    _, place = launched()
    study = place.proposal().proposal.manifest
    costs = what_withdrawal_means(place, "west").costs
    assert set(costs) == {0, 3}
    event = study.training_event()
    for start, by_site in costs.items():
        assert set(by_site) == {"north", "south"}
        for site, rounds in (("north", 7), ("south", 6)):
            again = [event] * (ROUNDS - start)
            assert by_site[site].spent == pytest.approx(epsilon_of([event] * rounds, delta=DELTA))
            assert by_site[site].again == pytest.approx(epsilon_of(again, delta=DELTA))
            assert by_site[site].together == pytest.approx(epsilon_of([event] * rounds + again, delta=DELTA))
    assert costs[3]["north"].again < costs[0]["north"].again
    assert costs[0]["north"].together < costs[0]["north"].spent + costs[0]["north"].again


def test_a_study_without_privacy_has_no_costs_to_show(launched):
    _, place = launched(privacy={"kind": "none"})
    assert not any(what_withdrawal_means(place, "west").costs.values())


def test_a_draft_that_starts_later_runs_what_was_left(launched, tmp_path):
    layout, place = launched()
    study = place.proposal().proposal.manifest
    write_draft(place, "west", tmp_path / "next.yaml", after_round=3)
    draft = read_manifest_file(tmp_path / "next.yaml").manifest
    assert (draft.schedule.rounds, draft.version) == (5, study.version + 1)
    rates = [draft.schedule.learning_rate_of(number) for number in range(1, 6)]
    assert rates == pytest.approx([study.schedule.learning_rate_of(number) for number in range(4, 9)])
    assert draft.privacy == study.privacy
    text = withdrawal_text(
        withdraw(layout, place, "west", now=dt.datetime.now(tz=dt.UTC)), draft=tmp_path / "n", start=3
    )
    for word in (
        "--start-round 3 --start-model sha256:",
        "pay again",
        "ledger decides",
        "runs the rounds that were left",
    ):
        assert word in text
    for number in (-1, ROUNDS):
        with pytest.raises(ManifestError, match="before the last"):
            next_version_without(study, "west", after_round=number)


def test_a_site_whose_counts_are_in_the_prepared_features_touched_every_model(launched, monkeypatch):
    _, place = launched()
    monkeypatch.setattr(CheckpointStore, "preparation", lambda self: (None, {"west": None}))
    found = what_withdrawal_means(place, "west")
    assert found.clean_round == 0
    assert list(found.models) == list(range(1, DONE + 1))
    assert "map of the features" in found.reason_to_begin_anew


def test_a_start_fits_only_a_study_of_the_same_model(launched):
    _, place = launched()
    old = place.proposal().proposal.manifest
    new, start = (
        next_version_without(old, "west", after_round=3),
        StartingModel(round_number=3, model="sha256:" + "0" * 64),
    )
    check_start(new, old, start)
    wider = old.model_copy(update={"model": old.model.model_copy(update={"kind": "mlp"})})
    open_study = new.model_copy(update={"privacy": study_privacy_none()})
    for changed, given in ((new, replace_round(start, 9)), (wider, start), (open_study, start)):
        with pytest.raises(ManifestError, match="start"):
            check_start(changed, old, given)


def study_privacy_none():
    from federation.privacy.promise import NoPrivacy

    return NoPrivacy(kind="none")


def replace_round(start: StartingModel, number: int) -> StartingModel:
    return start.model_copy(update={"round_number": number})


def test_a_start_that_does_not_fit_the_model_is_refused(launched, tmp_path):
    _, place = launched()
    study = place.proposal().proposal.manifest
    assert KeptCheckpoints(tmp_path, study, start=np.ones(5)).latest().parameters.tolist() == [1.0] * 5
    assert KeptCheckpoints(tmp_path, study).latest() is None
    with pytest.raises(CheckpointError, match="5 parameters"):
        KeptCheckpoints(tmp_path, study, start=np.ones(6)).latest()
    begun = KeptCheckpoints(place.checkpoints, study, start=np.ones(5)).latest()
    assert begun.round_number == DONE  # what was trained since counts, not the start
    np.testing.assert_array_equal(begun.parameters, parameters(DONE))
