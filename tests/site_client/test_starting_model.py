"""Round 1 starts with the agreed model, at every site by itself; and what a site's agents hold is let go of."""

from __future__ import annotations

import datetime as dt
import hashlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from federation.errors import PrivacyRefusedError
from federation.governance.proposals import Proposal
from federation.models.build import build_model
from federation.models.parameters import initial_parameters
from federation.protocol.messages import Envelope, TrainReply, TrainRequest, read_envelope
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from site_client.starting_model import agreed_start
from site_client.study_agents import IDLE, StudyAgents
from tests.site_client.hospital_site import START, Site
from tests.small_study import FEATURES, manifest, private


@pytest.fixture
def site(tmp_path: Path) -> Site:
    found = Site(tmp_path)
    found.approve()
    return found


def asked(site: Site, parameters: np.ndarray, *, round_number: int = 1) -> str:
    header = TrainRequest(study=site.study, site="north", round_number=round_number)
    request = site.request(Envelope(header, {"parameters": parameters}).to_bytes())
    return site.reason(site.hospital().handle(request), request)


@pytest.mark.parametrize("change", ["one weight", "other seed", "nothing learnt"])
def test_another_model_in_round_1_is_refused_by_every_site_alone(site: Site, change: str) -> None:
    network = build_model(manifest().model, task="binary", num_features=FEATURES, num_outputs=1, private=False)
    one = START.copy()
    one[0] += np.float32(1e-4)
    wrong = {
        "one weight": one,
        "other seed": initial_parameters(network, seed=1),
        "nothing learnt": np.zeros_like(START),
    }[change]
    assert asked(site, wrong) == "PrivacyRefusedError"
    assert asked(site, START) == ""  # nothing was spoilt by it
    assert (
        asked(site, wrong, round_number=2) == "" or change == "not a number"
    )  # what later rounds start with is not known here


def test_an_amendment_starts_with_the_model_that_it_names_bit_for_bit(site: Site) -> None:
    model = np.linspace(-1, 1, len(START), dtype=np.float32)
    named = "sha256:" + hashlib.sha256(model.astype("<f4").tobytes()).hexdigest()
    data = site.signed.proposal.as_data()
    data["manifest"]["version"] = 2
    data |= {
        "supersedes": site.signed.proposal.digest,
        "start": {"round_number": 2, "model": named},
    }
    check = agreed_start(Proposal.from_data(data))
    network = build_model(manifest().model, task="binary", num_features=FEATURES, num_outputs=1, private=False)
    check(network, model)
    for wrong in (START, np.nextafter(model, np.float32(2))):
        with pytest.raises(PrivacyRefusedError, match="that the amendment names"):
            check(network, wrong)


def test_agents_that_are_forgotten_close_their_ledger(tmp_path: Path) -> None:
    site = Site(tmp_path, privacy=private())
    site.approve()
    terms = LedgerTerms(population="north", site="north", epsilon_cap=8.0, delta=1e-3)
    Ledger.create(site.layout.ledger, terms, clock=site.clock).close()
    agents = StudyAgents(site.layout, "north", clock=site.clock)
    proposal = site.signed.proposal
    assert isinstance(read_envelope(agents.handle(proposal, site.train())).header, TrainReply)
    (warm,) = agents._agents.values()
    ledger = warm.agent._desk.ledger
    assert ledger.verify().intact
    site.now += IDLE + dt.timedelta(seconds=1)
    agents.forget_idle()
    assert agents.warm == ()
    with pytest.raises(sqlite3.ProgrammingError):
        ledger._journal.store._connection.execute("select 1")
    again = agents.handle(proposal, site.train())  # made anew: the same bytes, charged once
    assert isinstance(read_envelope(again).header, TrainReply)


def test_closing_twice_is_no_harm(site: Site) -> None:
    agents = StudyAgents(site.layout, "north", clock=site.clock)
    agents.handle(site.signed.proposal, site.train())
    (warm,) = agents._agents.values()
    warm.agent.close()
    warm.agent.close()
