"""A sum that its survivors will not open any more is left: the study gets on with the sites that are there, and pays once a round."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from aggregator import left_sums
from aggregator.checkpoints import CheckpointStore
from aggregator.report.facts import convergence
from aggregator.report.robustness import unopened
from aggregator.run_records import round_record
from aggregator.secure_sums import SecureSums
from federation.protocol.messages import Envelope, EvaluateRequest, SecureSumRequest, TrainRequest
from site_client.ledger.ledger import Ledger
from tests.masked_study import SITES, Lossy, agents, run
from tests.small_study import private
from tests.vanishing_sites import ROUNDS, South, runs, six_rounds


def test_a_round_whose_survivors_are_gone_is_left(tmp_path: Path) -> None:
    study = six_rounds(tmp_path)
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert runs(study, tmp_path, transport, left_sums.RUNS - 1) is None
    result = run(study, tmp_path, transport)
    left = result.rounds[1]
    assert left.contributors == ()
    assert "east, north, south" in left.unopened
    assert set(left.exclusions) == {"east", "north", "south"}
    assert left.model_digest == result.rounds[0].model_digest
    assert left.update_norm == 0.0
    assert [set(entry.contributors) for entry in result.rounds[2:]] == [{"east", "north", "west"}] * (ROUNDS - 2)
    assert not any(entry.unopened for entry in (result.rounds[0], *result.rounds[2:]))
    assert round_record(left).metrics["round/unopened"] == 1.0
    assert unopened(convergence(result)).startswith("Without an update: round 2 (")
    assert not unopened(convergence(result)[2:])


def test_nobody_is_asked_for_a_sum_that_was_left(tmp_path: Path) -> None:
    study = six_rounds(tmp_path)
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert runs(study, tmp_path, transport, left_sums.RUNS) is not None
    after = [header for _, request, _ in transport.seen if isinstance(header := request.header, TrainRequest)]
    numbers = [header.round_number for header in after]
    assert sorted(numbers) == numbers  # no request of round 2 after one of round 3
    attempts = {header.batch.attempt for header in after if header.batch is not None and header.round_number == 2}
    assert attempts == {0}


def test_what_was_computed_for_it_is_paid_for_once(tmp_path: Path) -> None:
    study = six_rounds(tmp_path, privacy=private(epsilon=8.0, steps=ROUNDS))
    transport = Lossy(agents(tmp_path, study), loses=South())
    result = runs(study, tmp_path, transport, left_sums.RUNS)
    assert result is not None
    for site in ("east", "north", "south"):
        assert result.rounds[1].epsilon_spent[site] > result.rounds[0].epsilon_spent[site]
        with Ledger.open(
            tmp_path / "sites" / site / "ledger.sqlite", clock=lambda: dt.datetime.now(tz=dt.UTC)
        ) as ledger:
            assert ledger.verify().intact
            assert ledger.find(study.digest, "train/2") is not None
    assert result.rounds[1].epsilon_spent["west"] == result.rounds[0].epsilon_spent["west"]
    states = CheckpointStore(tmp_path / "coordinator", study=study.digest).latest()
    assert states is not None
    assert states.rounds_contributed == {"east": ROUNDS, "north": ROUNDS, "south": 2, "west": ROUNDS - 2}


def test_with_too_few_sites_for_another_sum_it_is_not_left(tmp_path: Path) -> None:
    study = six_rounds(tmp_path)
    south = South(also_gone=("east",))
    transport = Lossy(agents(tmp_path, study), loses=south)
    assert runs(study, tmp_path, transport, 3 * left_sums.RUNS) is None
    assert not list((tmp_path / "coordinator").rglob("*.left"))
    transport.loses = lambda *_: False  # everybody is back: the very sum is opened
    result = run(study, tmp_path, transport)
    assert set(result.rounds[1].contributors) == {"east", "north", "south"}
    assert not any(entry.unopened for entry in result.rounds)


def test_keys_that_were_begun_in_vain_do_not_bind_the_next_try(tmp_path: Path) -> None:
    """Keys of a try name east, which is gone before it deals shares; the next try begins with a list of its own."""
    study, is_back = six_rounds(tmp_path), False
    south = South()

    def loses(site: str, request: Envelope) -> bool:
        is_lost = south(site, request)
        header = request.header
        is_agreed = isinstance(header, SecureSumRequest) and header.kind == "key_agreement_request/1"
        return is_lost or (south.is_gone and not is_back and site == "east" and not is_agreed)

    transport = Lossy(agents(tmp_path, study), loses=loses)
    assert runs(study, tmp_path, transport, left_sums.RUNS + 1) is None
    is_back = True
    result = run(study, tmp_path, transport)
    assert [entry.round_number for entry in result.rounds if entry.unopened] == [2]


@pytest.mark.parametrize("number", [1, 2, ROUNDS])
def test_any_round_may_be_left(tmp_path: Path, number: int) -> None:
    """The first, one at the end of its keys' rounds, and the last."""
    study = six_rounds(tmp_path)
    result = runs(study, tmp_path, Lossy(agents(tmp_path, study), loses=South(numbers=(number,))), left_sums.RUNS)
    assert result is not None
    assert [entry.round_number for entry in result.rounds if entry.unopened] == [number]
    assert len(result.rounds) == ROUNDS


def test_a_few_rounds_in_a_row_are_left_and_no_more(tmp_path: Path) -> None:
    """Whoever is asked for shares is gone for that round, every time: that is no bad network."""
    study = six_rounds(tmp_path)

    def loses(site: str, request: Envelope) -> bool:
        header = request.header
        is_asked = isinstance(header, SecureSumRequest) and header.kind == "unmask_request/1"
        return is_asked and header.round_number is not None and header.round_number >= 2 and site in ("south", "west")

    transport = Lossy(agents(tmp_path, study), loses=loses)
    assert runs(study, tmp_path, transport, 10 * left_sums.RUNS) is None
    left = sorted(path.stem for path in (tmp_path / "coordinator").rglob("*.left"))
    assert left == ["train-000002", "train-000003", "train-000004"]
    transport.loses = lambda *_: False
    result = run(study, tmp_path, transport)
    assert [entry.round_number for entry in result.rounds if entry.unopened] == [2, 3, 4]
    assert set(result.rounds[4].contributors) == set(SITES)


def test_an_evaluation_may_be_left_and_the_model_is_as_ever(tmp_path: Path) -> None:
    study = six_rounds(tmp_path, evaluation={"release": "sum"})
    transport = Lossy(agents(tmp_path, study), loses=South(purpose="evaluate"))
    result = runs(study, tmp_path, transport, left_sums.RUNS)
    assert result is not None
    assert not result.rounds[1].metrics
    assert "never opened" in result.rounds[1].unevaluated
    assert unopened(convergence(result)).startswith("Without an evaluation: round 2 (")
    assert round_record(result.rounds[1]).metrics["round/unevaluated"] == 1.0
    assert all(entry.metrics for entry in (result.rounds[0], *result.rounds[2:]))
    assert not any(entry.unopened for entry in result.rounds)
    asked = {
        request.header.round_number for _, request, _ in transport.seen if isinstance(request.header, EvaluateRequest)
    }
    assert asked == set(range(1, ROUNDS + 1))


@pytest.mark.parametrize("dies_in", ["agree_again", "write_record", "use"])
def test_a_crash_while_a_sum_is_left_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    """Before the keys, before it is written down, and before the new keys are in use."""
    study = six_rounds(tmp_path)
    transport = Lossy(agents(tmp_path, study), loses=South())
    assert runs(study, tmp_path, transport, left_sums.RUNS - 1) is None
    place = left_sums if dies_in == "write_record" else SecureSums
    whole, died = getattr(place, dies_in), []

    def dying(*words: object) -> object:
        if not died:
            died.append(True)
            raise KeyboardInterrupt
        return whole(*words)

    monkeypatch.setattr(place, dies_in, dying)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path, transport)
    result = runs(study, tmp_path, transport, left_sums.RUNS)
    assert died
    assert result is not None
    assert [entry.round_number for entry in result.rounds if entry.unopened] == [2]
    assert [set(entry.contributors) for entry in result.rounds[2:]] == [{"east", "north", "west"}] * (ROUNDS - 2)


def test_evaluations_between_rounds_without_any_are_left_a_few_times_and_no_more(tmp_path: Path) -> None:
    schedule = {
        "rounds": 12,
        "local_steps": 1,
        "batch_size": 16,
        "optimiser": {"learning_rate": 0.1},
        "evaluate_every": 2,
    }
    study = six_rounds(tmp_path, schedule=schedule, evaluation={"release": "sum"})

    def loses(site: str, request: Envelope) -> bool:
        header = request.header
        is_asked = isinstance(header, SecureSumRequest) and header.kind == "unmask_request/1"
        return is_asked and header.batch.purpose == "evaluate" and site in ("south", "west")

    assert runs(study, tmp_path, Lossy(agents(tmp_path, study), loses=loses), 10 * left_sums.RUNS) is None
    left = sorted(path.stem for path in (tmp_path / "coordinator").rglob("*.left"))
    assert left == ["evaluate-000002", "evaluate-000004", "evaluate-000006"]
