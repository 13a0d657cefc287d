"""Paid preparation in a study: counted once, charged once, the same map for everybody and after every restart."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from aggregator.transport import SiteReply
from experiments.composition import without_privacy
from experiments.engines.inline import InlineTransport
from federation.data.preparation import PreparationSpec, count_layout
from federation.errors import CheckpointError, ManifestError, QuorumError
from federation.privacy.accounting import NOTHING, add, cost_of, epsilon_of_cost
from federation.privacy.calibration import calibrate_noise_multiplier
from federation.protocol.messages import (
    Envelope,
    EvaluateRequest,
    PrepareReply,
    PrepareRequest,
    Refusal,
    TrainRequest,
    read_envelope,
)
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.agent import SiteAgent
from site_client.ledger.ledger import Ledger
from tests.small_study import SITES, manifest, manifest_data, now, private, site_folders

SPEC = {"variance": 4, "levels": 8}


def prepared_manifest(**changes: object) -> StudyManifest:
    """Three rounds, paid for together with the counts before them."""
    data = manifest_data(**changes)
    event = PreparationSpec.from_data(SPEC).event(manifest().contract)
    privacy = private(epsilon=300.0)
    privacy["noise_multiplier"] = calibrate_noise_multiplier(
        epsilon=300.0,
        delta=privacy["delta"],
        sampling_numerator=privacy["sampling_numerator"],
        steps=data["schedule"]["local_steps"],
        rounds=data["schedule"]["rounds"],
        beside=add(NOTHING, cost_of(event)),
    )
    return StudyManifest.from_data(
        data | {"privacy": privacy, "preparation": SPEC, "evaluation": {"release": "none"}} | changes
    )


class Recorded(InlineTransport):
    """Real agents, every request kept; some sites are unreachable for some kinds of request."""

    def __init__(self, agents: Mapping[str, SiteAgent], *, lost: Mapping[str, type] | None = None) -> None:
        super().__init__({site: agent.handle for site, agent in agents.items()})
        self.requests: list[Envelope] = []
        self.lost = dict(lost or {})

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        envelopes = {site: read_envelope(content) for site, content in requests.items()}
        self.requests += envelopes.values()
        reached = {
            site: content
            for site, content in requests.items()
            if not isinstance(envelopes[site].header, self.lost.get(site, ()))
        }
        yield from super().exchange(reached)


def _agents(study: StudyManifest, folder: Path) -> dict[str, SiteAgent]:
    return {site: SiteAgent(entry) for site, entry in site_folders(folder, study).items()}


def _run(study: StudyManifest, folder: Path, transport: Recorded) -> StudyResult:
    return run_study(
        study,
        transport,
        NullTracker(),
        checkpoints=CheckpointStore(folder / "coordinator", study=study.digest),
        clock=itertools.count().__next__,
        on_round=lambda _: None,
    )


def _releases(folder: Path, study: StudyManifest, site: str) -> list[str]:
    """What the site's ledger says was reserved for the study, in order."""
    with Ledger.open(folder / "sites" / site / "ledger.sqlite", clock=now) as ledger:
        contents = [json.loads(row.body) for row in ledger.entries()]
    return [entry["release"] for entry in contents if entry.get("kind") == "reserved"]


def test_every_request_carries_the_one_map_and_every_site_is_charged_once(tmp_path: Path) -> None:
    study = prepared_manifest()
    transport = Recorded(_agents(study, tmp_path))
    result = _run(study, tmp_path, transport)
    assert result.prepared is not None
    kinds = [type(request.header) for request in transport.requests]
    assert kinds[:3] == [PrepareRequest] * 3
    assert set(kinds[3:]) == {TrainRequest}
    for site in SITES:
        assert _releases(tmp_path, study, site) == ["prepare/0", "train/1", "train/2", "train/3", "train/4"]
    expected = result.prepared.to_arrays()
    for request in transport.requests[3:]:
        found = request.named("preparation")
        assert found.keys() == expected.keys()
        for name, vector in expected.items():
            np.testing.assert_array_equal(found[name], vector)
    # Uniform values in (-1, 1): the medians are near 0 and the spreads near 1.
    np.testing.assert_allclose(expected["centre"], 0, atol=0.25)
    np.testing.assert_allclose(
        expected["spread"], 1.1, atol=0.4
    )  # stretched: the noise would hide the outermost quantiles


def test_epsilon_counts_preparation_and_stays_within_the_promise(tmp_path: Path) -> None:
    study = prepared_manifest()
    result = _run(study, tmp_path, Recorded(_agents(study, tmp_path)))
    spent = result.rounds[-1].epsilon_spent
    whole = epsilon_of_cost(study.privacy_cost(), delta=study.privacy.delta)
    assert spent == {site: pytest.approx(whole) for site in SITES}
    assert whole <= study.privacy.epsilon
    event = study.preparation_event()
    assert event is not None
    training = study.privacy_cost()
    assert result.rounds[0].epsilon_spent["north"] > epsilon_of_cost(cost_of(event), delta=study.privacy.delta)
    assert training == add(add(NOTHING, cost_of(event)), cost_of(study.training_event()), times=study.schedule.rounds)


def test_a_restart_sends_the_same_bytes_and_asks_nobody_again(tmp_path: Path) -> None:
    study = prepared_manifest()
    agents = _agents(study, tmp_path)
    first = _run(study, tmp_path, Recorded(agents))
    for path in (tmp_path / "coordinator").glob("round-*"):
        path.unlink()  # killed after preparation and before round 1 was committed
    again = Recorded(agents)
    second = _run(study, tmp_path, again)
    assert not any(isinstance(request.header, PrepareRequest) for request in again.requests)
    assert second.prepared == first.prepared
    np.testing.assert_array_equal(second.parameters, first.parameters)


def test_a_repeated_question_gets_the_same_bytes(tmp_path: Path) -> None:
    study = prepared_manifest()
    agent = _agents(study, tmp_path)["north"]
    request = Envelope(PrepareRequest(study=study.digest, site="north")).to_bytes()
    assert agent.handle(request) == agent.handle(request)
    header = read_envelope(agent.handle(request)).header
    assert isinstance(header, PrepareReply)
    assert header.event == study.preparation_event()


def test_a_site_that_does_not_count_is_told_and_trains_with_the_same_map(tmp_path: Path) -> None:
    study = prepared_manifest(aggregation={"mode": "plain", "quorum": 2})
    transport = Recorded(_agents(study, tmp_path), lost={"west": PrepareRequest})
    result = _run(study, tmp_path, transport)
    assert result.prepared is not None
    assert any("west: counted nobody" in notice for notice in result.prepared.notices)
    assert result.rounds[0].contributors == SITES


def test_below_the_quorum_the_study_stops_before_training(tmp_path: Path) -> None:
    study = prepared_manifest(aggregation={"mode": "plain", "quorum": 3})
    transport = Recorded(_agents(study, tmp_path), lost={"west": PrepareRequest})
    with pytest.raises(QuorumError, match="in preparation, got 2"):
        _run(study, tmp_path, transport)
    assert {type(request.header) for request in transport.requests} == {PrepareRequest}


@pytest.mark.parametrize("change", ["study", "centre", "cut"])
def test_a_damaged_map_is_not_used(tmp_path: Path, change: str) -> None:
    study = prepared_manifest()
    agents = _agents(study, tmp_path)
    _run(study, tmp_path, Recorded(agents))
    path = tmp_path / "coordinator" / "preparation.json"
    content = json.loads(path.read_text())
    if change == "study":
        content["study"] = "sha256:other"
    if change == "centre":
        content["prepared"]["centre"][0] += 1.0
    path.write_text(json.dumps(content) if change != "cut" else path.read_text()[:100])
    with pytest.raises(CheckpointError, match="preparation of study"):
        _run(study, tmp_path, Recorded(agents))


def _refused(agent: SiteAgent, envelope: Envelope) -> str:
    header = read_envelope(agent.handle(envelope.to_bytes())).header
    assert isinstance(header, Refusal)
    return header.reason


def test_a_site_refuses_what_was_not_agreed(tmp_path: Path) -> None:
    study = prepared_manifest()
    agent = _agents(study, tmp_path / "paid")["north"]
    asked = PrepareRequest(study=study.digest, site="north")
    assert _refused(agent, Envelope(asked, {"parameters": np.ones(2)})) == "TransportError"
    parameters = {"parameters": np.zeros(5, dtype=np.float32)}
    train = TrainRequest(study=study.digest, site="north", round_number=1)
    assert _refused(agent, Envelope(train, parameters)) == "TransportError", "no map"
    bad = {"centre": np.zeros(4), "spread": np.array([1, 1, 0, 1.0]), "keep": np.ones(4)}
    mapped = parameters | {f"preparation/{name}": vector for name, vector in bad.items()}
    assert _refused(agent, Envelope(train, mapped)) == "TransportError", "an impossible map"
    plain = manifest(privacy=private(), evaluation={"release": "none"})
    other = _agents(plain, tmp_path / "plain")["north"]
    assert _refused(other, Envelope(PrepareRequest(study=plain.digest, site="north"))) == "PrivacyRefusedError"
    good = {"centre": np.zeros(4), "spread": np.ones(4), "keep": np.ones(4)}
    mapped = parameters | {f"preparation/{name}": vector for name, vector in good.items()}
    header = TrainRequest(study=plain.digest, site="north", round_number=1)
    assert _refused(other, Envelope(header, mapped)) == "TransportError", "a map that nobody paid for"
    evaluate = EvaluateRequest(study=study.digest, site="north", round_number=1)
    assert _refused(agent, Envelope(evaluate, parameters)) == "PrivacyRefusedError"


@pytest.mark.parametrize(
    ("counts", "event"),
    [(np.full(4, 1.0), True), ("fractions", True), ("right", False)],
    ids=["too few", "fractions", "no event"],
)
def test_counts_that_were_not_agreed_are_left_out(tmp_path: Path, counts: object, event: bool) -> None:
    study = prepared_manifest(aggregation={"mode": "plain", "quorum": 3})
    size = count_layout(study.preparation, study.contract).size
    array = counts if isinstance(counts, np.ndarray) else np.full(size, 0.5 if counts == "fractions" else 1.0)
    agents = _agents(study, tmp_path)

    class Odd(Recorded):
        def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
            for reply in super().exchange(requests):
                header = read_envelope(reply.content).header
                if reply.site == "south" and isinstance(header, PrepareReply):
                    changed = header if event else header.model_copy(update={"event": None})
                    reply = SiteReply("south", Envelope(changed, {"counts": array}).to_bytes())  # noqa: PLW2901
                yield reply

    with pytest.raises(QuorumError, match="south: TransportError"):
        _run(study, tmp_path, Odd(agents))


def test_preparation_is_for_private_studies_and_fits_the_contract() -> None:
    with pytest.raises(ManifestError, match="expected privacy 'patient_level'"):
        manifest(preparation=SPEC)
    with pytest.raises(ManifestError, match="expected continuous or integer variables"):
        prepared_manifest(preparation=SPEC | {"quantiles_of": ["nobody"]})
    with pytest.raises(ManifestError, match="everything else that is paid for"):
        StudyManifest.from_data(prepared_manifest().as_data() | {"preparation": SPEC | {"variance": 1}})
    assert without_privacy(prepared_manifest()).preparation is None
