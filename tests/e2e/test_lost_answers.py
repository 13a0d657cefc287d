"""Answers to the question that opens a secure sum are lost: the same attempt is asked for again, for no other can be opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from federation.errors import QuorumError
from federation.protocol.messages import Envelope, SecureSumRequest, TrainRequest
from federation.study.manifest import StudyManifest
from tests.masked_study import Lossy, agents, masked_manifest, run

pytestmark = [pytest.mark.e2e]

FOR_EVER = 10**6


@pytest.fixture
def study(tmp_path: Path) -> StudyManifest:
    return masked_manifest(tmp_path)


def _losing(times: int) -> Callable[[str, Envelope], bool]:
    """Loses the answers of two sites for the second round of training, so many times each."""
    left: dict[str, int] = dict.fromkeys(("south", "west"), times)

    def loses(site: str, request: Envelope) -> bool:
        header = request.header
        is_it = isinstance(header, SecureSumRequest) and header.kind == "unmask_request/1"
        is_it = is_it and (header.batch.purpose, header.round_number) == ("train", 2)
        if not is_it or left.get(site, 0) == 0:
            return False
        left[site] -= 1
        return True

    return loses


def _attempts(transport: Lossy) -> set[int]:
    headers = [request.header for _, request, _ in transport.seen]
    return {header.batch.attempt for header in headers if isinstance(header, TrainRequest) and header.batch is not None}


def test_survivors_are_asked_again_in_the_same_attempt(tmp_path: Path, study: StudyManifest) -> None:
    calm = run(study, tmp_path / "calm", Lossy(agents(tmp_path / "calm", study)))
    transport = Lossy(agents(tmp_path / "lossy", study), loses_reply=_losing(2))
    found = run(study, tmp_path / "lossy", transport)
    np.testing.assert_array_equal(found.parameters, calm.parameters)
    assert _attempts(transport) == {0}


def test_a_restart_goes_back_to_the_attempt_that_was_asked_for(tmp_path: Path, study: StudyManifest) -> None:
    """A new attempt would be refused by whoever answered, whose answers may be the ones that were lost: the study would hang."""
    calm = run(study, tmp_path / "calm", Lossy(agents(tmp_path / "calm", study)))
    found = agents(tmp_path / "lossy", study)
    with pytest.raises(QuorumError, match="too_few_answers"):
        run(study, tmp_path / "lossy", Lossy(found, loses_reply=_losing(FOR_EVER)))
    transport = Lossy(found)
    again = run(study, tmp_path / "lossy", transport)
    np.testing.assert_array_equal(again.parameters, calm.parameters)
    assert _attempts(transport) == {0}


def test_a_study_that_gave_up_agrees_on_keys_with_whoever_is_there_then(tmp_path: Path, study: StudyManifest) -> None:
    """Each attempt has begun with a list of keys that names west; then west is gone for good, and east is back."""
    found, is_later = agents(tmp_path / "lossy", study), False

    def loses(site: str, request: Envelope) -> bool:
        header = request.header
        if is_later:
            return site == "west"
        is_agreed = isinstance(header, SecureSumRequest) and header.kind == "key_agreement_request/1"
        return site == "east" or (site == "west" and not is_agreed)

    transport = Lossy(found, loses=loses)
    with pytest.raises(QuorumError, match="3 attempts"):
        run(study, tmp_path / "lossy", transport)
    is_later = True
    result = run(study, tmp_path / "lossy", transport)
    assert [set(entry.contributors) for entry in result.rounds] == [{"east", "north", "south"}] * study.schedule.rounds
    assert 3 in _attempts(transport)  # the first after those that were given up
