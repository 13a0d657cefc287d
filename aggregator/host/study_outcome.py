"""How a study ended: written once, beside the final parameters."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from aggregator.host.study_place import StudyPlace
from conf.received_files import read_received
from federation.documents import Document
from federation.durable_files import write_durably
from federation.errors import CheckpointError, CohortiumError
from federation.study.result import StudyResult

FINAL_MODEL: Final = "model.safetensors"
"""Of :mod:`federation.study.model_file`. Not released by lying here."""

Ending = Literal["finished", "stopped", "failed"]


class StudyOutcome(Document):
    """Content of ``outcome.json``."""

    ending: Ending
    ended: AwareDatetime
    rounds: Annotated[int, Field(ge=0)] = 0
    model_sha256: str = ""
    """Of ``model.safetensors``, hexadecimal; empty unless the study finished."""
    error: str = ""
    """Name of an error class."""
    message: str = ""
    """The error's own words."""


def is_over(place: StudyPlace) -> bool:
    """Whether the study has ended, one way or another."""
    return place.outcome.is_file()


def read_outcome(place: StudyPlace) -> StudyOutcome | None:
    """How the study ended, or ``None`` if it has not."""
    return read_received(place.outcome, StudyOutcome, error=CheckpointError) if is_over(place) else None


def end_study(
    place: StudyPlace,
    ending: Ending,
    *,
    now: dt.datetime,
    result: StudyResult | None = None,
    error: CohortiumError | None = None,
) -> None:
    """Write how the study ended. Its files are there already: an outcome that names a model is never without it."""
    model = place.folder / FINAL_MODEL
    digest = "" if result is None else hashlib.sha256(model.read_bytes()).hexdigest()
    outcome = StudyOutcome(
        ending=ending,
        ended=now,
        rounds=0 if result is None else len(result.rounds),
        model_sha256=digest,
        error="" if error is None or ending == "stopped" else type(error).__name__,
        message="" if error is None else error.message,
    )
    write_durably(place.outcome, outcome.model_dump_json(indent=1).encode())
