"""The site's list of recordings: one line each, in CSV, with whose it is and where its file lies."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from federation.errors import MappingError, PatientKeyError, RecordsUnreadableError
from site_client.signals.plan import SignalMapping
from site_client.signals.recording import check_file

_LARGEST_BYTES: Final = 256 * 2**20
_MOST_COLUMNS: Final = 500


@dataclass(frozen=True)
class ListedRecording:
    """One line of the list.

    Args:
        line: Of the file, counted from 1 for the first after the header: what messages name instead of a patient.
        patient: Key.
        file: Absolute path of the recording.
        annotations: Absolute path of its annotations, or ``None``.
        onset: The event's cell; empty: none.
        others: Further columns, which are kept with every window.
    """

    line: int
    patient: str = field(repr=False)
    file: Path = field(repr=False)
    annotations: Path | None = field(repr=False)
    onset: str = field(repr=False)
    others: Mapping[str, str] = field(repr=False)


def read_list(mapping: SignalMapping, *, folder: Path) -> tuple[ListedRecording, ...]:
    """Read the list of recordings.

    Args:
        mapping: Names the list and its columns.
        folder: Of the mapping file, to which the list's path is relative; paths in the list are relative to the list.

    Raises:
        RecordsUnreadableError: No such file, too large, no CSV in UTF-8, empty, or rows of different lengths.
        MappingError: A column is absent, or a file lies outside the list's folder.
        PatientKeyError: A line without a patient.
    """
    path = folder / mapping.recordings
    if check_file(path, site=mapping.site) > _LARGEST_BYTES:
        raise _unreadable(mapping, f"a list of at most {_LARGEST_BYTES} bytes, got a larger file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as failure:
        raise _unreadable(mapping, f"a list in CSV and UTF-8, got {type(failure).__name__}") from None
    header = [name.strip() for name in rows[0]] if rows else []
    named = (mapping.patient_column, mapping.file_column, mapping.annotation_column, mapping.onset_column)
    absent = [name for name in named if name is not None and header.count(name) != 1]
    if absent or len(header) > _MOST_COLUMNS or len(set(header)) != len(header):
        raise MappingError(
            f"expected distinct columns and among them {[name for name in named if name]}, got a list without {absent}",
            site=mapping.site,
            remedy="correct the columns in the mapping, or the list's header",
        )
    if len(rows) < 2:  # noqa: PLR2004 - header and one line
        raise _unreadable(mapping, "at least one recording in the list, got none")
    return tuple(_listed(mapping, header, row, line=line, folder=path.parent) for line, row in enumerate(rows[1:], 1))


def _listed(mapping: SignalMapping, header: list[str], row: list[str], *, line: int, folder: Path) -> ListedRecording:
    if len(row) != len(header):
        raise _unreadable(mapping, f"{len(header)} cells in line {line}, got {len(row)}")
    cells = dict(zip(header, row, strict=True))
    patient = cells.pop(mapping.patient_column).strip()
    if not patient:
        raise PatientKeyError(
            f"expected a patient in every line of the list, got none in line {line}",
            site=mapping.site,
            remedy="complete the list",
        )
    file = _inside(mapping, folder, cells.pop(mapping.file_column).strip(), line)
    annotations, onset = None, ""
    if mapping.annotation_column is not None:
        name = cells.pop(mapping.annotation_column).strip()
        annotations = _inside(mapping, folder, name, line) if name else None
    elif file.suffix.lower() == ".edf":
        annotations = file
    if mapping.onset_column is not None:
        onset = cells.pop(mapping.onset_column).strip()
    return ListedRecording(line=line, patient=patient, file=file, annotations=annotations, onset=onset, others=cells)


def _inside(mapping: SignalMapping, folder: Path, name: str, line: int) -> Path:
    place = (folder / name).resolve()
    if not name or not place.is_relative_to(folder.resolve()):
        raise MappingError(
            f"expected a file below the list's folder in line {line}, got none or one elsewhere",
            site=mapping.site,
            remedy="put the recordings beside the list, or below it",
        )
    return place


def _unreadable(mapping: SignalMapping, wanted: str) -> RecordsUnreadableError:
    return RecordsUnreadableError(f"expected {wanted}", site=mapping.site, remedy="correct the list of recordings")
