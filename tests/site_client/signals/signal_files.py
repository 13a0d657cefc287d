"""Small recordings in every format, for tests."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import edfio
import numpy as np
import wfdb

START = dt.datetime.fromisoformat("2026-01-31T08:00:00")
RATE = 100.0


def waves(seconds: float = 10.0, *, rate: float = RATE, channels: int = 2) -> np.ndarray:
    """``[C, N]``: sines of 1, 2, ... Hz in millivolts."""
    times = np.arange(round(seconds * rate)) / rate
    return np.stack([np.sin(2 * np.pi * (number + 1) * times) for number in range(channels)])


def write_wfdb(folder: Path, values: np.ndarray, *, name: str = "rec", rate: float = RATE, fmt: str = "16") -> Path:
    """A record with a header; returns the header's path."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(values)
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV"] * count,
        sig_name=[f"lead{number}" for number in range(count)],
        p_signal=values.T.astype(float),
        fmt=[fmt] * count,
        write_dir=str(folder),
        base_datetime=START,
    )
    return folder / f"{name}.hea"


def write_wfdb_annotations(folder: Path, seconds: list[float], symbols: list[str], *, name: str = "rec") -> Path:
    """An ``.atr`` file; returns its path."""
    wfdb.wrann(
        name,
        "atr",
        sample=np.array([round(at * RATE) for at in seconds]),
        symbol=symbols,
        fs=RATE,
        write_dir=str(folder),
    )
    return folder / f"{name}.atr"


def write_edf(
    path: Path,
    values: np.ndarray,
    *,
    rate: float = RATE,
    unit: str = "mV",
    marks: list[tuple[float, str]] | None = None,
) -> Path:
    """An EDF+ file of channels lead0, lead1, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = [
        edfio.EdfSignal(row.astype(float), rate, label=f"lead{number}", physical_dimension=unit)
        for number, row in enumerate(values)
    ]
    annotations = None if marks is None else [edfio.EdfAnnotation(at, None, text) for at, text in marks]
    edfio.Edf(
        signals,
        recording=edfio.Recording(startdate=START.date()),
        starttime=START.time(),
        annotations=annotations,
    ).write(path)
    return path


def write_csv(path: Path, times: list[str], columns: dict[str, list[str]]) -> Path:
    """A table with a time column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(["time", *columns])]
    lines += [",".join([at, *(column[row] for column in columns.values())]) for row, at in enumerate(times)]
    path.write_text("\n".join(lines) + "\n")
    return path
