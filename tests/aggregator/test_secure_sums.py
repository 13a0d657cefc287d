"""Studies with secure aggregation, end to end: sums equal those in the open, whoever drops out, whatever crashes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from aggregator.secure_sums import SecureSums
from federation.data.preparation import PreparationSpec
from federation.errors import QuorumError
from federation.privacy.accounting import NOTHING, add, cost_of
from federation.privacy.calibration import calibrate_noise_multiplier
from federation.privacy.events import DiscreteGaussian
from federation.protocol.messages import (
    PAYLOAD,
    Envelope,
    EvaluateRequest,
    Refusal,
    SecureSumRequest,
    TrainReply,
    TrainRequest,
    read_envelope,
)
from federation.protocol.secure_sum.terms import KeyBatch
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from tests.masked_study import MASKED, SITES, Lossy, agents, masked_manifest, run
from tests.small_study import private

QUIET = {"evaluation": {"release": "none"}}


def in_the_open(study: StudyManifest) -> StudyManifest:
    """The same study without secure aggregation."""
    data = study.as_data()
    return StudyManifest.from_data(data | {"aggregation": {"mode": "plain", "quorum": 3}})


@pytest.fixture
def study(tmp_path: Path) -> StudyManifest:
    return masked_manifest(tmp_path / "masked")


def test_a_masked_study_ends_where_the_open_one_ends(tmp_path: Path, study: StudyManifest) -> None:
    masked = run(study, tmp_path / "masked", Lossy(agents(tmp_path / "masked", study)))
    plain_study = in_the_open(study)
    plain = run(plain_study, tmp_path / "open", Lossy(agents(tmp_path / "open", plain_study)))
    np.testing.assert_allclose(masked.parameters, plain.parameters, rtol=0, atol=1e-6)
    assert [entry.contributors for entry in masked.rounds] == [SITES] * 4
    for found, expected in zip(masked.rounds, plain.rounds, strict=True):
        assert found.metrics == pytest.approx(expected.metrics, abs=1e-4)
        assert found.site_metrics == {}


def test_nothing_but_masked_payloads_leaves_a_site(tmp_path: Path, study: StudyManifest) -> None:
    transport = Lossy(agents(tmp_path / "masked", study))
    run(study, tmp_path / "masked", transport)
    words: list[np.ndarray] = []
    for _, _, reply in transport.seen:
        assert set(reply.arrays) == {PAYLOAD}
        if isinstance(reply.header, TrainReply):
            words.append(np.frombuffer(reply.payload()[:20], dtype="<u4"))
    assert len(words) == 16
    assert len(np.unique(words)) == np.size(words), "masks are of the round and the pair"
    plain = (tmp_path / "masked/sites/north/replies/train-000001.bin").read_bytes()[32:]
    assert "update" in read_envelope(plain).arrays, "the plain reply stays at the site"


def test_keys_are_agreed_on_for_many_rounds_at_once(tmp_path: Path, study: StudyManifest) -> None:
    transport = Lossy(agents(tmp_path / "masked", study))
    run(study, tmp_path / "masked", transport)
    batches = [
        request.header.batch
        for site, request, _ in transport.seen
        if site == "north"
        and isinstance(request.header, SecureSumRequest)
        and request.header.kind == "key_agreement_request/1"
    ]
    assert sorted((batch.purpose, batch.first_round, batch.rounds) for batch in batches) == [
        ("evaluate", 1, 2), ("evaluate", 3, 2), ("train", 1, 2), ("train", 3, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("reply_lost", [False, True], ids=["request lost", "reply lost"])
@pytest.mark.parametrize(
    "kind",
    ["key_agreement_request/1", "shares_request/1", "parcels_request/1", "train_request/1", "consistency_request/1",
     "unmask_request/1"],
)  # fmt: skip
def test_a_site_may_vanish_in_any_phase(tmp_path: Path, study: StudyManifest, kind: str, reply_lost: bool) -> None:
    def loses(site: str, request: Envelope) -> bool:
        return site == "west" and request.header.kind == kind

    lost = {"loses_reply" if reply_lost else "loses": loses}
    result = run(study, tmp_path / "masked", Lossy(agents(tmp_path / "masked", study), **lost))
    is_in = kind in {"parcels_request/1", "consistency_request/1", "unmask_request/1"} and not (
        kind == "parcels_request/1" and not reply_lost
    )
    expected = SITES if is_in else SITES[:3]
    assert {entry.contributors for entry in result.rounds} == {expected}
    for entry in result.rounds:
        assert ("west" in entry.dropouts) == (not is_in)


def test_a_sum_without_a_site_is_the_open_sum_without_it(tmp_path: Path, study: StudyManifest) -> None:
    def loses(site: str, request: Envelope) -> bool:
        return site == "west" and isinstance(request.header, TrainRequest | EvaluateRequest)

    masked = run(study, tmp_path / "masked", Lossy(agents(tmp_path / "masked", study), loses=loses))
    plain_study = in_the_open(study)
    plain = run(plain_study, tmp_path / "open", Lossy(agents(tmp_path / "open", plain_study), loses=loses))
    np.testing.assert_allclose(masked.parameters, plain.parameters, rtol=0, atol=1e-6)


def test_a_round_that_cannot_be_opened_is_tried_again_with_new_keys(
    tmp_path: Path, study: StudyManifest, undisturbed: StudyResult
) -> None:
    def loses(site: str, request: Envelope) -> bool:
        header = request.header
        return (
            site in {"south", "west"}
            and header.kind == "consistency_request/1"
            and isinstance(header, SecureSumRequest)
            and (header.batch.purpose, header.round_number, header.batch.attempt) == ("train", 2, 0)
        )

    transport = Lossy(agents(tmp_path / "masked", study), loses=loses)
    again = run(study, tmp_path / "masked", transport)
    # The rounding of the second attempt is drawn anew: equal to the last ring unit, not to the last bit.
    np.testing.assert_allclose(again.parameters, undisturbed.parameters, rtol=0, atol=1e-6)
    attempts = {
        (request.header.batch.purpose, request.header.batch.attempt)
        for _, request, _ in transport.seen
        if isinstance(request.header, TrainRequest)
    }
    assert attempts == {("train", 0), ("train", 1)}


def test_below_the_threshold_nothing_is_opened_and_the_study_stops(tmp_path: Path, study: StudyManifest) -> None:
    def loses(site: str, request: Envelope) -> bool:
        return site in {"south", "west"} and isinstance(request.header, TrainRequest)

    transport = Lossy(agents(tmp_path / "masked", study), loses=loses)
    with pytest.raises(QuorumError, match="nothing was opened"):
        run(study, tmp_path / "masked", transport)
    kinds = [request.header.kind for _, request, _ in transport.seen]
    assert "unmask_request/1" not in kinds
    assert kinds.count("train_request/1") == 2 * MASKED["attempts"]


class CrashError(BaseException):
    """The coordinator is gone."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    folder = tmp_path_factory.mktemp("calm")
    study = masked_manifest(folder)
    return run(study, folder, Lossy(agents(folder, study)))


@pytest.mark.parametrize("at", range(0, 60, 5))
def test_a_restart_continues_the_same_round(
    tmp_path: Path, study: StudyManifest, undisturbed: StudyResult, at: int
) -> None:
    counted = 0

    def crash(*_: object) -> bool:
        nonlocal counted
        counted += 1
        if counted == at:
            raise CrashError
        return False

    folder = tmp_path / "masked"
    lost = {"loses_reply": crash} if at % 2 else {"loses": crash}
    try:
        result = run(study, folder, Lossy(agents(folder, study), **lost))
    except CrashError:
        result = run(study, folder, Lossy(agents(folder, study)))
    np.testing.assert_array_equal(result.parameters, undisturbed.parameters)


def _refusal(agent, header, arrays) -> str:
    reply = read_envelope(agent.handle(Envelope(header, arrays).to_bytes())).header
    assert isinstance(reply, Refusal)
    return reply.reason


def test_a_site_gives_nothing_in_the_open_and_nothing_twice(
    tmp_path: Path, study: StudyManifest, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "masked"
    found = agents(folder, study)
    transport = Lossy(found, loses=lambda _, request: isinstance(request.header, EvaluateRequest))
    with pytest.raises(QuorumError):
        run(study, folder, transport)
    train = next(
        request for site, request, _ in transport.seen if site == "north" and request.header.kind == "train_request/1"
    )
    agent, header = found["north"], train.header
    assert isinstance(header, TrainRequest)
    bare = header.model_copy(update={"batch": None})
    assert _refusal(agent, bare, train.arrays) == "PrivacyRefusedError"
    other = header.model_copy(update={"batch": KeyBatch(purpose="evaluate", first_round=1, rounds=2)})
    assert _refusal(agent, other, train.arrays) == "TransportError"
    # The round was opened: a second attempt, which would open it for another set of survivors, is refused.
    again = header.model_copy(update={"batch": KeyBatch(purpose="train", first_round=1, rounds=2, attempt=1)})
    assert _refusal(agent, again, train.arrays) == "SecureSumRefusedError"
    # Not for want of keys: with keys for that attempt it is refused as well.
    SecureSums(study, Lossy(found), folder=tmp_path / "again")._ready(again.batch)
    with caplog.at_level(logging.WARNING):
        assert _refusal(agent, again, train.arrays) == "SecureSumRefusedError"
    assert "whose sum was not opened" in caplog.text
    model = dict(train.arrays) | {"parameters": train.arrays["parameters"] + 1}
    assert _refusal(agent, again, model) == "CheckpointError"
    # And the same request gets the same bytes.
    repeated = agent.handle(train.to_bytes())
    (sent,) = [reply for site, request, reply in transport.seen if site == "north" and request is train]
    assert read_envelope(repeated).payload() == sent.payload()


def test_a_different_list_of_keys_is_refused(tmp_path: Path, study: StudyManifest) -> None:
    found = agents(tmp_path / "masked", study)
    transport = Lossy(found)
    run(study, tmp_path / "masked", transport)
    # The last batch: what belongs to batches that ended is gone.
    step = [
        request for site, request, _ in transport.seen if site == "north" and request.header.kind == "shares_request/1"
    ][-1]
    assert not isinstance(read_envelope(found["north"].handle(step.to_bytes())).header, Refusal), (
        "the same again is fine"
    )
    second = step.with_payload(step.payload()[:-1] + b"x")
    assert _refusal(found["north"], second.header, second.arrays) == "SecureSumRefusedError"


def test_a_study_in_the_open_takes_no_step_of_a_secure_sum(tmp_path: Path, study: StudyManifest) -> None:
    plain = in_the_open(study)
    agent = agents(tmp_path / "open", plain)["north"]
    header = SecureSumRequest(
        kind="key_agreement_request/1", study=plain.digest, site="north", batch=KeyBatch(purpose="train", first_round=1)
    )
    assert _refusal(agent, header, {}) == "TransportError"


def test_secrets_are_for_their_owner_and_go_with_their_batch(tmp_path: Path, study: StudyManifest) -> None:
    folder, modes = tmp_path / "masked/sites/north/secure", set()

    def look(*_: object) -> bool:
        modes.update(path.stat().st_mode & 0o777 for path in folder.glob("*"))
        return False

    run(study, tmp_path / "masked", Lossy(agents(tmp_path / "masked", study), loses_reply=look))
    assert modes == {0o600}, "at no time can others read them"
    files = sorted(folder.iterdir())
    assert files
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert not [path for path in files if path.name.startswith("train-000001-2")], "keys of rounds 1 and 2 are gone"


@pytest.mark.parametrize("noise", ["local", "distributed"])
def test_a_private_study_pays_for_preparation_and_evaluation_inside_the_sum(tmp_path: Path, noise: str) -> None:
    folder = tmp_path / "masked"
    spec = {"variance": 4, "levels": 6}
    base = masked_manifest(folder)
    counts = PreparationSpec.from_data(spec).event(base.contract)
    scores = DiscreteGaussian(sensitivity_squared=1, variance=4)
    steps = 1 if noise == "distributed" else 3
    privacy = private(epsilon=300.0) | {"noise": noise}
    privacy["noise_multiplier"] = calibrate_noise_multiplier(
        epsilon=300.0,
        delta=privacy["delta"],
        sampling_numerator=privacy["sampling_numerator"],
        steps=steps,
        rounds=3,
        beside=add(add(NOTHING, cost_of(counts)), cost_of(scores)),
    )
    study = masked_manifest(
        folder,
        privacy=privacy,
        preparation=spec,
        schedule={"rounds": 3, "local_steps": steps, "batch_size": 16, "evaluate_every": 3,
                  "optimiser": {"learning_rate": 0.5}},
        evaluation={"release": "sum", "score_bins": 10, "noise": {"variance": 4}},
    )  # fmt: skip
    transport = Lossy(agents(folder, study))
    result = run(study, folder, transport)
    assert result.prepared is not None
    last = result.rounds[-1]
    assert last.metric_errors
    assert last.paid_performance
    assert set(last.epsilon_spent) == set(SITES)
    assert max(last.epsilon_spent.values()) <= 300.0
    assert all(set(reply.arrays) == {PAYLOAD} for _, _, reply in transport.seen)
