"""Agents in memory: their number is bounded, and one that was forgotten answers as if it never had been."""

from __future__ import annotations

import datetime as dt
import gc
from pathlib import Path

import numpy as np
import pytest

from federation.errors import InvalidInputError
from federation.protocol.messages import Envelope, Refusal, TrainRequest, read_envelope
from site_client.study_agents import StudyAgents
from tests.masked_study import Lossy, agents, masked_manifest, run
from tests.site_client.hospital_site import START, Site
from tests.small_study import FEATURES, private


class Studies:
    """A site with several approved studies, private ones with ledgers of their own."""

    def __init__(self, folder: Path, *names: str, **options: object) -> None:
        self.site = Site(folder)
        self.now = self.site.now
        privacy = private(epsilon=9.0)
        self.signed = {
            name: self.site.proposal(study=name, privacy=privacy, evaluation={"release": "none"}) for name in names
        }
        self.agents = StudyAgents(self.site.layout, "north", clock=lambda: self.now, **options)

    def digest(self, name: str) -> str:
        return self.signed[name].proposal.manifest.digest

    def train(self, name: str, round_number: int = 1) -> bytes:
        header = TrainRequest(study=self.digest(name), site="north", round_number=round_number)
        parameters = START if round_number == 1 else np.full(FEATURES + 1, 0.1 * round_number)
        reply = self.agents.handle(self.signed[name].proposal, Envelope(header, {"parameters": parameters}).to_bytes())
        assert not isinstance(read_envelope(reply).header, Refusal)
        return reply

    @property
    def warm(self) -> list[str]:
        names = {self.digest(name): name for name in self.signed}
        return [names[digest] for digest in self.agents.warm]


def test_the_one_that_was_not_asked_for_longest_goes_first(tmp_path: Path) -> None:
    studies = Studies(tmp_path, "a", "b", "c", most=2)
    for name in ("a", "b"):
        studies.train(name)
    studies.train("a", 2)
    assert studies.warm == ["b", "a"]
    studies.train("c")
    assert studies.warm == ["a", "c"]


def test_a_forgotten_study_answers_a_repeated_request_with_the_same_bytes(tmp_path: Path) -> None:
    studies = Studies(tmp_path, "a", "b", most=1)
    first = studies.train("a")
    studies.train("b")
    assert studies.warm == ["b"]
    assert studies.train("a") == first
    second = studies.train("a", 2)
    assert second != first
    studies.train("b")
    assert (studies.train("a"), studies.train("a", 2)) == (first, second)


def test_going_on_after_being_forgotten_gives_what_staying_gives(tmp_path: Path) -> None:
    """In test mode everything is repeatable: the same rounds, once with room for one study and once for both."""
    narrow = Studies(tmp_path / "narrow", "a", "b", most=1)
    roomy = Studies(tmp_path / "roomy", "a", "b", most=2)
    order = [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("b", 3), ("a", 3)]
    arrays = [
        [read_envelope(studies.train(name, number)).arrays["update"].tobytes() for name, number in order]
        for studies in (narrow, roomy)
    ]
    assert arrays[0] == arrays[1]
    assert (len(narrow.warm), len(roomy.warm)) == (1, 2)


def test_a_masked_study_whose_agents_are_made_anew_for_every_request_ends_in_the_same_model(tmp_path: Path) -> None:
    """Keys, shares and masks are on the disk, too."""

    class Forgetful:
        def __init__(self, site: str, folder: Path) -> None:
            self.site, self.folder = site, folder

        def handle(self, request: bytes) -> bytes:
            return agents(self.folder, study)[self.site].handle(request)

    study = masked_manifest(tmp_path / "keys")
    warm, cold = tmp_path / "warm", tmp_path / "cold"
    kept = run(study, warm, Lossy(agents(warm, study)))
    made_anew = run(study, cold, Lossy({site: Forgetful(site, cold) for site in agents(cold, study)}))
    assert made_anew.parameters.tobytes() == kept.parameters.tobytes()


def test_a_study_that_is_not_asked_any_more_leaves_the_memory(tmp_path: Path) -> None:
    studies = Studies(tmp_path, "a", "b", most=4, idle=dt.timedelta(hours=1))
    first = studies.train("a")
    studies.now += dt.timedelta(minutes=40)
    studies.train("b")
    studies.now += dt.timedelta(minutes=40)
    studies.agents.forget_idle()
    assert studies.warm == ["b"]
    studies.now += dt.timedelta(hours=2)
    assert studies.train("a") == first  # its own request forgets b
    assert studies.warm == ["a"]


def test_a_forgotten_agents_ledger_is_closed(tmp_path: Path) -> None:
    studies = Studies(tmp_path, *"abcdef", most=2)
    for name in "abcdef":
        studies.train(name)
    gc.collect()
    opened = {link.resolve() for link in Path("/proc/self/fd").iterdir()}
    ledgers = {path for path in opened if path.name == "ledger.sqlite" and path.is_relative_to(tmp_path)}
    assert len(ledgers) == 2


def test_room_for_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        Studies(tmp_path, "a", most=0)
