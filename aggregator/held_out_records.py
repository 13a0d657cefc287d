"""The aggregator's own reference records, on which the held-out gate measures every round's model.

They are public, or given for this purpose: no site trains on them, and nothing about a site's patients follows from them. A file is
a CSV in the contract's own terms: a column for every variable and for the outcome, numbers in the contract's unit, 0 or 1,
names of levels; an empty field is a missing value where the contract imputes one.

Axis names: R records, F features.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import (
    Binary,
    Categorical,
    Continuous,
    DataContract,
    ImputeMissing,
    Integer,
    Ordinal,
    Variable,
)
from federation.data.encoding import encode_features, encode_outcome
from federation.data.prepared_features import PreparedFeatures
from federation.data.survival import encode_times
from federation.durable_files import write_durably
from federation.errors import InvalidInputError

if TYPE_CHECKING:
    from aggregator.held_out_gate import HeldOutLoss
    from federation.study.manifest import StudyManifest

LARGEST_FILE: Final = 64 * 2**20
FEWEST_RECORDS: Final = 30
"""Below, a mean loss says little about a round."""


@dataclass(frozen=True)
class HeldOutRecords:
    """Encoded records.

    Args:
        features: ``[R, F]`` float32.
        outcomes: ``[R]`` float32.
    """

    features: NDArray[np.float32] = field(repr=False)
    outcomes: NDArray[np.float32] = field(repr=False)


def read_held_out(content: bytes, study: StudyManifest) -> HeldOutRecords:
    """Read a file of records.

    Args:
        content: Of a CSV file with a heading.
        study: Its contract and task.

    Raises:
        InvalidInputError: If a column is missing, a value is none of the contract's, or there are too few records; and for
            contracts with images or signals.
    """
    contract = study.contract
    if contract.arrays:
        raise InvalidInputError("expected a contract of numbers and codes for held-out records, got images or signals")
    columns = _columns(content, contract)
    values = {variable.name: _values(variable, columns[variable.name]) for variable in contract.columns}
    records = len(next(iter(columns.values())))
    if records < FEWEST_RECORDS:
        raise InvalidInputError(
            f"expected at least {FEWEST_RECORDS} held-out records, got {records}", remedy="hold more records out"
        )
    task = study.task
    outcomes = (
        encode_times(contract, values)
        if task == "survival"
        else encode_outcome(contract, task, values[contract.outcome.name])
    )
    return HeldOutRecords(features=encode_features(contract, values), outcomes=outcomes)


def held_out_loss(records: HeldOutRecords, study: StudyManifest) -> HeldOutLoss:
    """The mean loss of a model on these records.

    Args:
        records: Of this study's contract.
        study: Its model and objective.
    """
    import torch

    from federation.models.losses import batch_loss
    from federation.models.parameters import load
    from federation.study.network import network_of

    model = network_of(study).eval()
    outcomes = torch.from_numpy(records.outcomes)

    def loss(parameters: NDArray[np.float32], prepared: PreparedFeatures | None) -> float:
        load(model, parameters)
        features = records.features if prepared is None else prepared.apply(records.features)
        with torch.no_grad():
            return float(batch_loss(study.objective, model(torch.from_numpy(features)), outcomes))

    return loss


def keep_held_out(place: Path, study: StudyManifest, given: Path | None) -> None:
    """Put a launched study's records where its coordinator looks for them.

    Args:
        place: Of the file; there already if the study was launched before.
        study: Whose gate they are for.
        given: The file, checked before it is kept; ``None``: what is there stays.

    Raises:
        InvalidInputError: If the study needs records and there are none, has no gate, or as :func:`read_held_out`.
    """
    masked = study.aggregation.masked
    has_gate = masked is not None and masked.held_out_bound is not None
    if has_gate and given is None and not place.is_file():
        raise InvalidInputError(
            "expected reference records for aggregation.masked.held_out_bound, got none",
            remedy="launch with --held-out RECORDS.csv, or propose a version without the bound",
        )
    if given is None:
        return
    if not has_gate:
        raise InvalidInputError(
            "expected a study with aggregation.masked.held_out_bound for held-out records, got one without",
            remedy="leave --held-out away: nothing would look at them",
        )
    content = _read_bounded(given)
    read_held_out(content, study)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_durably(place, content)


def kept_loss(place: Path, study: StudyManifest) -> HeldOutLoss | None:
    """The loss on the records that were kept at launch; ``None``: there are none."""
    return held_out_loss(read_held_out(_read_bounded(place), study), study) if place.is_file() else None


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise InvalidInputError(f"expected a file of at most {LARGEST_FILE} bytes, {path} is larger")
    return content


def _columns(content: bytes, contract: DataContract) -> dict[str, list[str]]:
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as failure:
        raise InvalidInputError("expected a CSV file in UTF-8 for held-out records, got something else") from failure
    heading, body = (rows[0], [row for row in rows[1:] if row]) if rows else ([], [])
    absent = [variable.name for variable in contract.columns if heading.count(variable.name) != 1]
    if absent:
        raise InvalidInputError(
            f"expected each of the columns {absent} once in the held-out records, got {len(heading)} others or twice",
            remedy="name columns as the contract does",
        )
    uneven = [number for number, row in enumerate(body, start=2) if len(row) != len(heading)]
    if uneven:
        raise InvalidInputError(
            f"expected {len(heading)} fields in every row of the held-out records, not in row {uneven[0]}"
        )
    return {name: [row[place].strip() for row in body] for place, name in enumerate(heading)}


def _values(variable: Variable, texts: list[str]) -> NDArray[np.float64]:
    """``[R]``: in the contract's terms, NaN where a value is missing that is imputed."""
    found = np.array([_value(variable, text) for text in texts], dtype=np.float64)
    if np.isnan(found).any() and not isinstance(variable.missing, ImputeMissing):
        raise InvalidInputError(
            f"expected no missing value of {variable.name} in the held-out records, got {int(np.isnan(found).sum())}",
            remedy="leave those records out",
        )
    return found


def _value(variable: Variable, text: str) -> float:
    if not text:
        return math.nan
    match variable:
        case Categorical() | Ordinal() if text in variable.levels:
            return float(variable.levels.index(text))
        case Binary() if text in {"0", "1"}:
            return float(text)
        case Continuous() | Integer():
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if variable.minimum <= number <= variable.maximum:
                return number
        case _:
            pass
    raise InvalidInputError(
        f"expected values of the contract for {variable.name} in the held-out records, got another",
        remedy="numbers in the contract's unit and range, 0 or 1, or the name of a level",
    )
