"""A masked study whose sites are gone just when a sum is to be opened, for tests."""

from __future__ import annotations

from pathlib import Path

from federation.errors import QuorumError
from federation.protocol.messages import Envelope, SecureSumRequest
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from tests.masked_study import Lossy, masked_manifest, run

ROUNDS = 6


def six_rounds(folder: Path, **changes: object) -> StudyManifest:
    schedule = {"rounds": ROUNDS, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.1}}
    return masked_manifest(folder, **({"schedule": schedule, "evaluation": {"release": "none"}} | changes))


def is_unmasking(request: Envelope, purpose: str, number: int) -> bool:
    header = request.header
    is_it = isinstance(header, SecureSumRequest) and header.kind == "unmask_request/1"
    return is_it and (header.batch.purpose, header.round_number) == (purpose, number)


class South:
    """South contributes to every sum until one of them asks for its shares; from then on it is gone, and west is back.

    Args:
        purpose: Of the sums in question.
        numbers: Their rounds.
        also_gone: Sites that are gone with it.
    """

    def __init__(
        self, purpose: str = "train", numbers: tuple[int, ...] = (2,), also_gone: tuple[str, ...] = ()
    ) -> None:
        self.purpose, self.numbers, self.also_gone = purpose, numbers, also_gone
        self.is_gone = False

    def __call__(self, site: str, request: Envelope) -> bool:
        for number in self.numbers:
            self.is_gone |= site == "south" and is_unmasking(request, self.purpose, number)
        if self.is_gone:
            return site == "south" or site in self.also_gone
        return site == "west"


def runs(study: StudyManifest, folder: Path, transport: Lossy, number: int) -> StudyResult | None:
    """The result, if there is one within so many runs."""
    for _ in range(number):
        try:
            return run(study, folder, transport)
        except QuorumError:
            continue
    return None
