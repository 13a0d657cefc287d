"""Generated hospitals as files: each writes its recordings in its own format, units and names.

CSV in even steps, CSV in uneven ones, CSV once a minute with temperatures in Fahrenheit, and EDF, in turn. EDF has no missing
samples; devices write an impossible 0 instead, which the plausible range turns into a gap.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import yaml
from edfio import Edf, EdfSignal
from edfio import Recording as EdfRecording

from experiments.studies.early_warning.vitals import VITALS, FloatArray, GeneratedPatient
from federation.documents import Json
from federation.durable_files import write_durably

START: Final = dt.datetime(2026, 1, 5, 8, 0, 0)  # noqa: DTZ001 - devices write local time without a zone
_DIGITS: Final = (0, 0, 0, 0, 0, 1)
_UNITS: Final = ("bpm", "1/min", "%", "mmHg", "mmHg", "degC")
_SHORT: Final = ("HR", "RR", "SpO2", "ABPs", "ABPd", "Temp")
_DEVICE: Final = ((0.0, 250.0), (0.0, 60.0), (0.0, 100.0), (0.0, 300.0), (0.0, 200.0), (0.0, 45.0))
"""Physical ranges of an EDF file."""


@dataclass(frozen=True)
class Format:
    """How one hospital records.

    Args:
        suffix: Of its files.
        step_seconds: Mean time between samples.
        jitter: Spread of the steps, as a part of one.
        units: Of the vital signs.
        labels: Of the vital signs.
    """

    suffix: str
    step_seconds: float
    jitter: float
    units: tuple[str, ...] = _UNITS
    labels: tuple[str, ...] = VITALS


FORMATS: Final = (
    Format(".csv", 300.0, 0.0),
    Format(".csv", 240.0, 0.25, labels=_SHORT),
    Format(".edf", 256.0, 0.0, labels=_SHORT),
    Format(".csv", 60.0, 0.0, units=(*_UNITS[:5], "degF")),
)


def write_hospital(site: str, patients: Sequence[GeneratedPatient], *, kind: Format, folder: Path) -> Path:
    """Write recordings, their list and the site's mapping.

    Args:
        site: Name of the hospital.
        patients: Who was recorded there.
        kind: How.
        folder: The hospital's own.

    Returns:
        Path of the mapping.
    """
    write: Callable[[Path, GeneratedPatient, Format], None] = _write_edf if kind.suffix == ".edf" else _write_csv
    lines: list[list[str]] = [["patient", "file", "onset"]]
    for number, patient in enumerate(patients):
        name = f"recordings/{site}-{number:04d}{kind.suffix}"
        write(folder / name, patient, kind)
        onset = patient.onset_seconds
        stamp = "" if onset is None else (START + dt.timedelta(seconds=round(onset))).isoformat()
        lines.append([f"{site}-{number:04d}", name, stamp])
    write_durably(folder / "recordings.csv", _csv(lines))
    mapping: dict[str, Json] = {
        "site": site,
        "recordings": "recordings.csv",
        "onset_column": "onset",
        "channels": {
            vital: {"label": label, "unit": unit}
            for vital, label, unit in zip(VITALS, kind.labels, kind.units, strict=True)
        },
    }
    path = folder / "signals.yaml"
    write_durably(path, yaml.safe_dump(mapping, sort_keys=False).encode())
    return path


def _write_csv(path: Path, patient: GeneratedPatient, kind: Format) -> None:
    rows = [["time", *kind.labels]]
    columns = [_texts(values, row, kind) for row, values in enumerate(patient.vitals)]
    stamps = [(START + dt.timedelta(seconds=at)).isoformat() for at in patient.seconds.tolist()]
    rows += [list(cells) for cells in zip(stamps, *columns, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_csv(rows))


def _texts(values: FloatArray, row: int, kind: Format) -> list[str]:
    shown = values * 1.8 + 32 if kind.units[row] == "degF" else values
    return ["" if np.isnan(value) else f"{value:.{_DIGITS[row]}f}" for value in shown.tolist()]


def _write_edf(path: Path, patient: GeneratedPatient, kind: Format) -> None:
    signals = [
        EdfSignal(
            np.where(np.isnan(values), 0.0, np.round(values, _DIGITS[row])),
            1 / kind.step_seconds,
            label=kind.labels[row],
            physical_dimension=kind.units[row],
            physical_range=_DEVICE[row],
        )
        for row, values in enumerate(patient.vitals)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    Edf(
        signals,
        recording=EdfRecording(startdate=START.date()),
        starttime=START.time(),
        data_record_duration=kind.step_seconds,
    ).write(path)


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
