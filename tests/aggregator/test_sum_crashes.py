"""Whatever dies and whoever is gone: at most one sum of a round is ever opened, and a study whose sites come back comes to its end.

The coordinator dies before and after writes, between an opened sum and its file, and while it waits for answers; sites vanish and
come back, most often when they are asked for their shares. Everything is drawn from a seed.
"""

from __future__ import annotations

import contextlib
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from aggregator import asked_sums, checkpoints, left_sums, opened_sums, secure_sums
from aggregator.transport import SiteReply
from federation.errors import QuorumError
from federation.protocol.messages import SecureSumRequest, TrainRequest, read_envelope
from federation.protocol.secure_sum.opening import AwaitingAnswers, SecureSum
from federation.protocol.secure_sum.round_phases import Unmasked, restore_round
from federation.study.result import StudyResult
from site_client.agent import SiteAgent
from tests.masked_study import MASKED, SITES, Lossy, agents, masked_manifest, run

RUNS, CALM_FROM = 240, 120
"""Runs of a study, of which the later ones are undisturbed."""
WRITERS = (secure_sums, asked_sums, left_sums, opened_sums, checkpoints)


class CrashError(BaseException):
    """The coordinator dies."""


class Chaos:
    """Draws what goes wrong, and remembers which sums were opened.

    Args:
        seed: Of everything.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.crash = self.random.choice([0.0, 0.01, 0.03])
        self.loss = self.random.choice([0.02, 0.1, 0.2])
        self.crashes = 0
        self.opened: dict[tuple[str, int], set[tuple[object, ...]]] = defaultdict(set)

    def maybe_die(self) -> None:
        if self.random.random() < self.crash:
            self.crashes += 1
            raise CrashError

    def calm(self) -> None:
        self.crash = self.loss = 0.0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        write, opens = secure_sums.write_durably, AwaitingAnswers.open

        def dying(path: Path, content: bytes, *, secret: bool = False) -> None:
            self.maybe_die()
            write(path, content, secret=secret)
            self.maybe_die()

        def noted(answers: AwaitingAnswers) -> SecureSum:
            total = opens(answers)
            found = (total.survivors, total.updates.tobytes(), total.statistics.tobytes())
            self.opened[answers.ready.batch.purpose, answers.round_number].add(found)
            self.maybe_die()
            return total

        for module in WRITERS:
            monkeypatch.setattr(module, "write_durably", dying)
        monkeypatch.setattr(AwaitingAnswers, "open", noted)


class Fickle(Lossy):
    """Sites that vanish for a while, and answers that are lost, four times as often to the question that opens a sum.

    Args:
        found: The agents.
        chaos: What goes wrong.
    """

    def __init__(self, found: Mapping[str, SiteAgent], chaos: Chaos) -> None:
        super().__init__(found)
        self.chaos, self.gone = chaos, frozenset[str]()

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        chaos = self.chaos
        for site in chaos.random.sample(sorted(requests), len(requests)):
            chaos.maybe_die()
            if chaos.random.random() < chaos.loss / 5:
                self.gone = frozenset(chaos.random.sample(SITES, chaos.random.randint(0, 2)))
            asked = read_envelope(requests[site])
            header = asked.header
            often = 4 if isinstance(header, SecureSumRequest) and header.kind == "unmask_request/1" else 1
            if chaos.loss and (site in self.gone or chaos.random.random() < often * chaos.loss / 2):
                yield SiteReply(site, None, "deadline")
                continue
            (reply,) = self.inline.exchange({site: requests[site]})
            self.seen.append((site, asked, read_envelope(reply.content)))
            lost = chaos.random.random() < often * chaos.loss / 2
            yield SiteReply(site, None, "deadline") if lost else reply


def _check(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> tuple[int, int]:
    """Crashes, and sums that were left."""
    chaos = Chaos(seed)
    draw = chaos.random.choice
    masked = MASKED | {"rounds_per_agreement": draw([1, 2, 3]), "attempts": draw([1, 2, 3])}
    study = masked_manifest(
        folder,
        aggregation={"mode": "masked", "quorum": 3, "masked": masked},
        schedule={"rounds": draw([3, 6]), "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.1}},
        evaluation={"release": draw(["sum", "none"])},
    )
    network = Fickle(agents(folder, study), chaos)
    with monkeypatch.context() as patch:
        chaos.install(patch)
        result: StudyResult | None = None
        for number in range(RUNS):
            if number == CALM_FROM:
                chaos.calm()
            with contextlib.suppress(QuorumError, CrashError):
                result = run(study, folder, network)
                break
    assert result is not None, "the study does not come to its end"
    left = {path.stem for path in folder.rglob("*.left")}
    _expect_one_sum_of_each_round(chaos, folder)
    _expect_the_history_to_tell(result, chaos, left)
    rounds = [header.round_number for _, asked, _ in network.seen if isinstance(header := asked.header, TrainRequest)]
    assert rounds == sorted(rounds)
    return chaos.crashes, len(left)


def _expect_one_sum_of_each_round(chaos: Chaos, folder: Path) -> None:
    assert all(len(sums) == 1 for sums in chaos.opened.values())
    answered: dict[str, set[tuple[bytes, tuple[int, ...]]]] = defaultdict(set)
    for path in (folder / "sites").rglob("*.phase"):
        phase = restore_round(path.read_bytes())
        if isinstance(phase, Unmasked):
            answered[path.name].add((phase.context, phase.survivors))
    assert all(len(sets) == 1 for sets in answered.values())


def _expect_the_history_to_tell(result: StudyResult, chaos: Chaos, left: set[str]) -> None:
    for entry in result.rounds:
        assert bool(entry.unopened) == (f"train-{entry.round_number:06d}" in left)
        if not entry.unopened:
            ((survivors, *_),) = chaos.opened["train", entry.round_number]
            assert survivors == entry.contributors


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_at_most_one_sum_of_a_round_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    _check(tmp_path, monkeypatch, seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_at_most_one_sum_of_a_round_is_opened_in_a_hundred_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [_check(tmp_path / str(seed), monkeypatch, seed) for seed in range(10, 110)]
    assert min(sum(crashes for crashes, _ in found), sum(left for _, left in found)) > 10
