"""An amended study that starts with a model of the version it replaces: agreed on by digest, checked, and really where it starts."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from aggregator.coordinator import run_study
from aggregator.host.launching import coordinator_key
from aggregator.host.starting_point import KeptCheckpoints, kept_rounds, parameters_after, study_checkpoints
from aggregator.host.study_place import StudyPlace
from aggregator.host.withdrawing import next_version_without, what_withdrawal_means
from aggregator.proposal_commands import register
from aggregator.tracking import NullTracker
from experiments.engines.inline import InlineTransport
from federation.errors import CheckpointError, InvalidInputError, ManifestError
from federation.governance.proposals import Proposal, SignedProposal
from federation.protocol.messages import TrainRequest, read_envelope
from site_client.agent import SiteAgent
from site_client.review import review
from tests.aggregator.host.consortium import Consortium
from tests.aggregator.host.launched_study import LEAD, approval_of, enrolled, proposal_of, study_of
from tests.small_proposal import proposal
from tests.small_study import site_folders

SCHEDULE = {"rounds": 4, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}


class Handlers:
    """Real agents; a site is away in some rounds, and what each was asked for is remembered."""

    def __init__(self, folder: Path, study, *, away=()) -> None:
        self.agents = {site: SiteAgent(entry).handle for site, entry in site_folders(folder, study).items()}
        self.away, self.starts = away, {}

    def transport(self) -> InlineTransport:
        return InlineTransport({site: lambda request, site=site: self.handle(site, request) for site in self.agents})

    def handle(self, site: str, request: bytes) -> bytes:
        envelope = read_envelope(request)
        if isinstance(envelope.header, TrainRequest):
            self.starts[envelope.header.round_number] = envelope.arrays["parameters"].copy()
            if (site, envelope.header.round_number) in self.away:
                return b"gone"
        return self.agents[site](request)


def ran(study, checkpoints, handlers: Handlers):
    return run_study(
        study,
        handlers.transport(),
        NullTracker(),
        checkpoints=checkpoints,
        clock=time.monotonic,
        on_round=lambda _: None,
    )


class Launched:
    """Four rounds, of which west was away in the first two."""

    def __init__(self, folder: Path) -> None:
        self.folder, consortium = folder, Consortium(folder / "authority")
        self.sites = enrolled(consortium)
        self.layout, _ = consortium.host(folder / "host")
        self.coordinator = coordinator_key(self.layout).public_key
        self.study = study_of(self.sites, aggregation={"quorum": 2}, schedule=SCHEDULE)
        self.old, self.signed = self.launched(proposal_of(self.study, coordinator=self.coordinator))
        away = {("west", 1), ("west", 2)}
        ran(
            self.study,
            KeptCheckpoints(self.old.checkpoints, self.study),
            Handlers(folder / "old", self.study, away=away),
        )

    def launched(self, signed: SignedProposal) -> tuple[StudyPlace, SignedProposal]:
        place = StudyPlace.of(self.layout, signed.proposal.manifest.digest)
        names = [entry.site for entry in signed.proposal.manifest.roster]
        place.keep(signed, [approval_of(signed, self.sites[name]) for name in names])
        return place, signed

    def amended(self, **changes: object) -> tuple[StudyPlace, SignedProposal]:
        found = what_withdrawal_means(self.old, "west", layout=self.layout)
        terms = {"start": {"round_number": 2, "model": found.starts[2]}, "supersedes": self.signed.proposal.digest}
        manifest = next_version_without(self.study, "west", after_round=2)
        return self.launched(proposal_of(manifest, coordinator=self.coordinator, **(terms | changes)))


@pytest.fixture
def launched(tmp_path: Path) -> Launched:
    return Launched(tmp_path)


def test_a_proposal_without_a_start_has_the_bytes_that_it_always_had() -> None:
    assert "start" not in proposal().as_data()
    assert b'"start"' not in proposal().canonical_bytes()


def test_the_amended_study_starts_with_the_agreed_model_and_without_the_site(launched: Launched) -> None:
    assert kept_rounds(launched.old) == (2, 3, 4)
    place, signed = launched.amended()
    study = signed.proposal.manifest
    handlers = Handlers(launched.folder / "new", study)
    done = ran(study, study_checkpoints(launched.layout, place, signed.proposal), handlers)
    expected = parameters_after(launched.old, 2).astype(np.float32)
    np.testing.assert_array_equal(handlers.starts[1], expected)
    assert [entry.contributors for entry in done.rounds] == [("north", "south")] * 2
    # begun once, it goes on from its own rounds, also where the old version is gone
    launched.old.proposal_file.unlink()
    again = study_checkpoints(launched.layout, place, signed.proposal).latest()
    assert again is not None
    assert again.round_number == 2


def test_continuing_is_what_the_old_study_would_have_done_without_the_site(launched: Launched) -> None:
    """Same patients, seeds and rates: two more rounds of north and south from the model after round 2."""
    place, signed = launched.amended()
    study = signed.proposal.manifest
    done = ran(
        study, study_checkpoints(launched.layout, place, signed.proposal), Handlers(launched.folder / "n", study)
    )
    other = launched.folder / "by_hand"
    start = parameters_after(launched.old, 2)
    by_hand = ran(study, KeptCheckpoints(other, study, start=start), Handlers(launched.folder / "m", study))
    assert done.parameters.tobytes() == by_hand.parameters.tobytes()
    anew = ran(study, KeptCheckpoints(launched.folder / "anew", study), Handlers(launched.folder / "o", study))
    assert done.parameters.tobytes() != anew.parameters.tobytes()


def test_another_model_than_agreed_or_none_is_refused(launched: Launched) -> None:
    place, signed = launched.amended(start={"round_number": 2, "model": "sha256:" + "0" * 64})
    with pytest.raises(CheckpointError, match="agreed on"):
        study_checkpoints(launched.layout, place, signed.proposal)
    place, signed = launched.amended()
    launched.old.proposal_file.unlink()
    with pytest.raises(CheckpointError, match="version that is replaced"):
        study_checkpoints(launched.layout, place, signed.proposal)


def test_a_start_needs_a_version_that_is_replaced(launched: Launched) -> None:
    with pytest.raises(ManifestError, match="supersedes"):
        launched.amended(supersedes=None)


def test_a_model_of_the_earlier_version_counts_when_another_site_withdraws(launched: Launched) -> None:
    place, _ = launched.amended()
    found = what_withdrawal_means(place, "south", layout=launched.layout)
    assert "earlier version" in found.reason_to_begin_anew
    assert found.clean_round == 0
    assert "not here" in what_withdrawal_means(place, "south").reason_to_begin_anew


def test_the_lead_signs_it_and_the_site_reads_it(launched: Launched) -> None:
    folder = launched.folder
    app = typer.Typer()
    register(app)
    (folder / "lead.key").write_bytes(LEAD.to_bytes())
    (folder / "old.json").write_text(launched.signed.model_dump_json())
    (folder / "next.json").write_text(next_version_without(launched.study, "west", after_round=2).sealed())
    model = what_withdrawal_means(launched.old, "west").starts[2]
    words = [
        "amend",
        str(folder / "next.json"),
        "--supersedes",
        str(folder / "old.json"),
        "--key",
        str(folder / "lead.key"),
    ]
    words += ["-o", str(folder / "new.json"), "--start-round", "2"]
    assert isinstance(CliRunner().invoke(app, words).exception, InvalidInputError)
    result = CliRunner().invoke(app, [*words, "--start-model", model])
    assert result.exit_code == 0, result.exception
    assert "model with which it starts" in result.output
    signed = SignedProposal.from_json((folder / "new.json").read_bytes())
    signed.check()
    assert signed.proposal.start is not None
    assert (signed.proposal.start.round_number, signed.proposal.start.model) == (2, model)
    told = review(signed, site="north", policy=None, room=None, previous=launched.signed, missing=())
    text = json.dumps(told.as_data())
    assert "starts with the model of the replaced version after its round 2" in text
    assert Proposal.from_data(signed.proposal.as_data()).digest == signed.proposal.digest
