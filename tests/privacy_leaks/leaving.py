"""One study in which a site fails in every known way, round after round, and all that leaves it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.delivery_process import NoCourier
from aggregator.outbox_tracker import OutboxTracker
from aggregator.transport import SiteReply
from federation.privacy.calibration import calibrate_noise_multiplier
from federation.protocol.messages import EvaluateRequest, read_envelope
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.agent import SiteAgent
from tests.aggregator.tracked_run import server_target
from tests.privacy_leaks.canaries import NAMES
from tests.privacy_leaks.forced_errors import ERRORS, ForcedError
from tests.small_study import SITES, manifest, now, private, site_folders

WELL, FAILING = SITES[0], SITES[1]
EVALUATE_EVERY = 9


def _order() -> tuple[str, ...]:
    """The errors' rounds: those of evaluation where the schedule evaluates."""
    training = [name for name, error in ERRORS.items() if not error.evaluating]
    order: list[str] = []
    for name in (name for name, error in ERRORS.items() if error.evaluating):
        room = EVALUATE_EVERY - 1
        order += [*training[:room], name]
        training = training[room:]
    return (*order, *training)


ORDER = _order()


def study() -> StudyManifest:
    """A private study of as many rounds as there are errors, with paid evaluations."""
    rounds = len(ORDER)
    terms = private(epsilon=50.0)
    terms["noise_multiplier"] = calibrate_noise_multiplier(
        epsilon=30.0, delta=terms["delta"], sampling_numerator=terms["sampling_numerator"], steps=1, rounds=rounds
    )
    return manifest(
        privacy=terms,
        algorithm={"kind": "scaffold"},
        schedule={
            "rounds": rounds,
            "local_steps": 1,
            "evaluate_every": EVALUATE_EVERY,
            "optimiser": {"learning_rate": 0.1},
        },
        roster=[{"site": site, "weight": 1.0, "training_patients": 40} for site in (WELL, FAILING)],
        aggregation={"quorum": 1},
        evaluation={"noise": {"variance": 4000}, "score_bins": 10},
    )


@dataclass
class FailingTransport:
    """Calls real agents; one of them fails in every round in another way, with another patient's name."""

    agents: Mapping[str, SiteAgent]
    replies: dict[str, bytes] = field(default_factory=dict)
    """Name of the error to the failing site's answer."""

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        for site, request in requests.items():
            reply = self._failing(request) if site == FAILING else self.agents[site].handle(request)
            yield SiteReply(site=site, content=reply)

    def _failing(self, request: bytes) -> bytes:
        header = read_envelope(request).header
        place = header.round_number - 1
        name = ORDER[place]
        error = ERRORS[name]
        if error.evaluating != isinstance(header, EvaluateRequest):
            return self.agents[FAILING].handle(request)
        with pytest.MonkeyPatch.context() as patch:
            error.plant(patch, NAMES[place * 17 % len(NAMES)])
            self.replies[name] = self.agents[FAILING].handle(request)
        return self.replies[name]

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Left:
    """What was left behind by the study, at the centre and at the failing site."""

    folder: Path
    result: StudyResult
    transport: FailingTransport
    errors: dict[str, ForcedError]

    def at_the_centre(self) -> dict[str, bytes]:
        """Outbox, checkpoints and results."""
        files = [path for part in ("tracking", "coordinator") for path in (self.folder / part).rglob("*")]
        found = {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files if path.is_file()}
        return found | {"result": repr(self.result.rounds).encode(), "dropouts": json.dumps(self.dropouts()).encode()}

    def at_the_site(self) -> dict[str, bytes]:
        """Everything that a site keeps for a study, the ledger and its log included."""
        files = (self.folder / "sites" / FAILING).rglob("*")
        return {path.name: path.read_bytes() for path in files if path.is_file()}

    def dropouts(self) -> dict[int, dict[str, str]]:
        return {result.round_number: dict(result.dropouts) for result in self.result.rounds}


def run_failing_study(folder: Path) -> Left:
    """Run it to its end."""
    agreed = study()
    folders = site_folders(folder, agreed)
    transport = FailingTransport({site: SiteAgent(folders[site], clock=now) for site in (WELL, FAILING)})
    tracker = OutboxTracker(folder / "tracking", server_target(folder), courier=NoCourier())
    tracker.start(agreed, tags={"cohortium.name": "canaries"})
    result = run_study(
        agreed,
        transport,
        tracker,
        checkpoints=CheckpointStore(folder / "coordinator", study=agreed.digest),
        clock=itertools.count().__next__,
        on_round=lambda result: None,
    )
    tracker.record_metrics({"final/epsilon": max(result.rounds[-1].epsilon_spent.values())})
    tracker.finish("finished")
    return Left(folder, result, transport, ERRORS)
