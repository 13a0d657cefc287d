"""Leaving a site out: every round and model that it touched is named, and a new version without it is a valid study or says why not."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.host.launching import coordinator_key
from aggregator.host.study_place import StudyPlace
from aggregator.host.withdrawal_text import withdrawal_text
from aggregator.host.withdrawing import next_version_without, what_withdrawal_means, withdraw, write_draft
from aggregator.manifest_file import read_manifest_file
from federation.errors import InvalidInputError, ManifestError
from federation.governance.audit_log import read_log
from tests.aggregator.host.consortium import Consortium
from tests.aggregator.host.launched_study import approval_of, enrolled, proposal_of, study_of
from tests.aggregator.host.test_study_status import result


def now():
    return dt.datetime.now(tz=dt.UTC)


@pytest.fixture
def launched(tmp_path):
    """Three rounds; west contributed to the second and the third."""

    def make(**changes):
        consortium = Consortium(tmp_path / "authority")
        sites = enrolled(consortium)
        layout, _ = consortium.host(tmp_path / "host")
        study = study_of(sites, **changes)
        signed = proposal_of(study, coordinator=coordinator_key(layout).public_key)
        place = StudyPlace.of(layout, study.digest)
        place.keep(signed, [approval_of(signed, site) for site in sites.values()])
        store, history = CheckpointStore(place.checkpoints, study=study.digest), ()
        for number, who in enumerate(
            (("north", "south"), ("north", "south", "west"), ("north", "south", "west")), start=1
        ):
            digest = "sha256:" + f"{number}" * 64
            history = (*history, result(number, contributors=who, model_digest=digest))
            state = CoordinatorState(
                round_number=number, parameters=np.zeros(5), server={}, rounds_contributed={}, history=history
            )
            store.save(state)
        return layout, place

    return make


def test_rounds_and_models_are_named_and_the_request_is_durable(launched):
    layout, place = launched(aggregation={"quorum": 2})
    found = withdraw(layout, place, "west", now=now())
    assert found.rounds == (2, 3)
    assert found.models == {2: "sha256:" + "2" * 64, 3: "sha256:" + "3" * 64}
    assert (found.clean_round, found.goes_on, found.obstacle) == (1, True, "")
    assert place.withdrawn() == ("west",)
    withdraw(layout, place, "west", now=now())
    assert [entry.event for entry in read_log(layout.audit).entries].count("withdrawn") == 1
    text = withdrawal_text(found, draft=None)
    assert "round 2: sha256:2222" in text
    assert "last model without it: round 1" in text


def test_two_withdrawals_leave_too_few(launched):
    layout, place = launched(aggregation={"quorum": 2})
    withdraw(layout, place, "west", now=now())
    found = withdraw(layout, place, "south", now=now())
    assert found.rounds == (1, 2, 3)
    assert (found.clean_round, found.goes_on) == (0, False)
    assert "Too few sites remain" in withdrawal_text(found, draft=None)


def test_the_draft_is_the_next_version_without_the_site(launched, tmp_path):
    _, place = launched(aggregation={"quorum": 2})
    write_draft(place, "west", tmp_path / "next.yaml")
    draft, before = read_manifest_file(tmp_path / "next.yaml").manifest, place.proposal().proposal.manifest
    assert [entry.site for entry in draft.roster] == ["north", "south"]
    assert draft.version == before.version + 1
    assert draft.model_copy(update={"roster": before.roster, "version": before.version}) == before
    with pytest.raises(InvalidInputError, match="no file"):
        write_draft(place, "west", tmp_path / "next.yaml")


def test_a_quorum_that_cannot_be_met_is_an_obstacle(launched, tmp_path):
    _, place = launched()
    found = what_withdrawal_means(place, "west")
    assert "quorum" in found.obstacle
    assert not found.goes_on
    with pytest.raises(ManifestError, match="quorum"):
        next_version_without(place.proposal().proposal.manifest, "west")
    assert place.withdrawn() == ()


def test_a_site_outside_the_roster_cannot_withdraw(launched):
    layout, place = launched()
    for site in ("east", "../north", ""):
        with pytest.raises(InvalidInputError, match="roster"):
            withdraw(layout, place, site, now=now())
    assert place.withdrawn() == ()
