"""A site answers the statistics that its study agreed on, masked, and refuses everything else."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from federation.data.cohort import Criterion
from federation.protocol.messages import Envelope, Refusal, StatisticsReply, StatisticsRequest, read_envelope
from federation.protocol.secure_sum.terms import KeyBatch
from federation.statistics.counts import CountStep
from federation.statistics.descriptive_steps import LevelCountStep, Levels
from federation.statistics.requests import Selection, StepRequest
from federation.statistics.step import Step
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from tests.masked_study import Lossy
from tests.statistics_study import agents, statistics_manifest

WARDS_BY_DEATH = LevelCountStep(coded=(Levels(variable="ward", levels=3), Levels(variable="died", levels=2)))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyManifest, dict[str, SiteAgent], Envelope]:
    """A study in which requests for statistics were answered; sites hold keys. A refused request changes nothing."""
    tmp_path = tmp_path_factory.mktemp("asked")
    study = statistics_manifest(tmp_path, "wards")
    sites = agents(tmp_path, study)
    transport = Lossy(sites)
    run_study(
        study,
        transport,
        NullTracker(),
        checkpoints=CheckpointStore(tmp_path / "coordinator", study=study.digest),
        clock=itertools.count().__next__,
        on_round=lambda _: None,
    )
    *_, request = (
        request
        for site, request, _ in transport.seen
        if site == "north" and isinstance(request.header, StatisticsRequest)
    )
    return study, sites, request


def changed(envelope: Envelope, *, header: dict[str, object] | None = None, **step: object) -> bytes:
    """The request with another header, or another step of the same terms."""
    known = StepRequest.from_json(envelope.payload())
    number = step.get("number", known.number)
    asked = StepRequest(
        terms=str(step.get("terms", known.terms)),
        number=number,
        selection=step.get("selection", known.selection),
        step=step.get("step", known.step),
    )
    said = envelope.header.model_copy(update={"number": number, **(header or {})})
    return Envelope(said).with_payload(asked.model_dump_json().encode()).to_bytes()


def reason(agent: SiteAgent, request: bytes) -> str:
    header = read_envelope(agent.handle(request)).header
    assert isinstance(header, Refusal), header.kind
    return header.reason


def test_a_repeated_request_gets_the_same_bytes(asked) -> None:
    _, sites, request = asked
    first = sites["north"].handle(request.to_bytes())
    assert isinstance(read_envelope(first).header, StatisticsReply)
    assert sites["north"].handle(request.to_bytes()) == first


@pytest.mark.parametrize(
    "step",
    [
        LevelCountStep(coded=(Levels(variable="ward", levels=3),)),
        LevelCountStep(coded=(Levels(variable="died", levels=2), Levels(variable="ward", levels=3))),
        LevelCountStep(coded=(Levels(variable="ward", levels=3), Levels(variable="male", levels=2))),
    ],
    ids=["another margin", "another order", "another variable"],
)
def test_a_step_that_no_analysis_of_the_study_asks_for_is_refused(asked, step: Step) -> None:
    _, sites, request = asked
    assert reason(sites["north"], changed(request, number=3, step=step)) == "PrivacyRefusedError"


def test_another_selection_is_refused_also_for_a_count(asked) -> None:
    _, sites, request = asked
    old = Selection(where=(Criterion(variable="age", operator="ge", value=60),), complete=("died", "ward"))
    for step in (WARDS_BY_DEATH, CountStep()):
        assert reason(sites["north"], changed(request, number=3, selection=old, step=step)) == "PrivacyRefusedError"


def test_more_sums_than_agreed_are_refused(asked) -> None:
    study, sites, request = asked
    batch = KeyBatch(purpose="statistics", first_round=1001, rounds=1)
    late = changed(request, header={"batch": batch}, number=study.statistics.most_sums + 1)
    assert reason(sites["north"], late) == "PrivacyRefusedError"


@pytest.mark.parametrize("purpose", ["train", "evaluate", "prepare"])
def test_keys_of_another_purpose_are_refused(asked, purpose: str) -> None:
    _, sites, request = asked
    batch = request.header.batch.model_copy(update={"purpose": purpose})
    assert reason(sites["north"], changed(request, header={"batch": batch})) == "TransportError"


def test_keys_that_the_site_does_not_hold_are_refused(asked) -> None:
    _, sites, request = asked
    batch = request.header.batch.model_copy(update={"attempt": 9})
    assert reason(sites["north"], changed(request, header={"batch": batch}, number=3)) == "SecureSumRefusedError"


def test_terms_of_another_study_and_a_number_that_differs_are_refused(asked) -> None:
    _, sites, request = asked
    assert reason(sites["north"], changed(request, number=3, terms="sha256:" + "0" * 64)) == "TransportError"
    header = request.header.model_copy(update={"number": 4})
    assert reason(sites["north"], Envelope(header).with_payload(request.payload()).to_bytes()) == "TransportError"


@pytest.mark.parametrize("payload", [b"", b"{", b"null", b"{}", b"\xff" * 64, b'{"step":' * 5000])
def test_what_is_no_step_is_refused(asked, payload: bytes) -> None:
    _, sites, request = asked
    assert reason(sites["north"], Envelope(request.header).with_payload(payload).to_bytes()) == "TransportError"


def test_a_study_without_statistics_answers_none(tmp_path: Path, asked) -> None:
    _, _, request = asked
    plain = StudyManifest.from_data(
        {
            key: value
            for key, value in statistics_manifest(tmp_path / "b", "wards").as_data().items()
            if key != "statistics"
        }
    )
    agent = agents(tmp_path / "b", plain)["north"]
    header = request.header.model_copy(update={"study": plain.digest})
    assert reason(agent, Envelope(header).with_payload(request.payload()).to_bytes()) == "PrivacyRefusedError"


def test_a_later_study_about_nearly_the_same_patients_is_refused_at_the_site(tmp_path: Path) -> None:
    """The memory is the site's, not the study's: all but the two oldest of a hospital are not to be told from all."""
    from tests.statistics_study import records

    study = statistics_manifest(tmp_path, "wards")
    run_all(tmp_path, study)
    oldest = sorted(records("north").values["age"])[-2]
    data = study.as_data() | {"study": "later"}
    data["cohort"]["inclusion"] = [{"variable": "age", "operator": "lt", "value": float(oldest)}]
    result = run_all(tmp_path, StudyManifest.from_data(data))
    assert result.analyses[0].result is None
    assert "north: PrivacyRefusedError" in result.analyses[0].reason


def run_all(folder: Path, study: StudyManifest):
    return run_study(
        study,
        Lossy(agents(folder / study.study, study) if study.study != "later" else later(folder, study)),
        NullTracker(),
        checkpoints=CheckpointStore(folder / "coordinator" / study.study, study=study.digest),
        clock=itertools.count().__next__,
        on_round=lambda _: None,
    )


def later(folder: Path, study: StudyManifest) -> dict[str, SiteAgent]:
    """Agents of the second study, which share the sites' memories with the first."""
    import shutil

    shutil.copytree(folder / "small" / "answers", folder / "later" / "answers")
    return agents(folder / "later", study)
