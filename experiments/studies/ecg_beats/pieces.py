"""One ECG record as pseudo-hospitals and pseudo-patients: pieces of its time, written as WFDB records of their own."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import wfdb
import yaml

from federation.documents import Json
from federation.durable_files import write_durably

_FORMAT: Final = "212"


def write_pieces(header: Path, *, num_hospitals: int, piece_seconds: float, folder: Path) -> tuple[str, ...]:
    """Divide the record's time into hospitals, and each hospital's into pieces.

    Args:
        header: The record's ``.hea`` file, with an ``.atr`` file beside it.
        num_hospitals: Parts of equal length, one after another.
        piece_seconds: Length of a piece, which stands for a patient; a shorter rest is left out.
        folder: Each hospital gets its own below.

    Returns:
        Names of the hospitals, in the order of time.
    """
    name = str(header.with_suffix(""))
    record: Any = wfdb.rdrecord(name, physical=False, return_res=16)  # wfdb has no types
    beats: Any = wfdb.rdann(name, "atr")
    length = round(piece_seconds * record.fs)
    part = record.sig_len // num_hospitals
    sites: list[str] = []
    for number in range(num_hospitals):
        site = f"part-{number + 1}"
        lines: list[list[str]] = [["patient", "file", "annotations"]]
        for piece, start in enumerate(range(number * part, (number + 1) * part - length + 1, length)):
            stem = f"p{piece:03d}"
            _write_piece(folder / site / "recordings", stem, record, beats, start=start, length=length)
            lines.append([f"{site}-{stem}", f"recordings/{stem}.hea", f"recordings/{stem}.atr"])
        write_durably(folder / site / "recordings.csv", _csv(lines))
        write_durably(folder / site / "signals.yaml", yaml.safe_dump(_mapping(site, record.sig_name)).encode())
        sites.append(site)
    return tuple(sites)


def _write_piece(folder: Path, stem: str, record: Any, beats: Any, *, start: int, length: int) -> None:  # noqa: ANN401 - no types
    folder.mkdir(parents=True, exist_ok=True)
    channels = record.n_sig
    wfdb.wrsamp(
        stem,
        fs=record.fs,
        units=record.units,
        sig_name=record.sig_name,
        d_signal=record.d_signal[start : start + length].astype(np.int64),
        fmt=[_FORMAT] * channels,
        adc_gain=record.adc_gain,
        baseline=record.baseline,
        write_dir=str(folder),
    )
    inside = np.flatnonzero((beats.sample >= start) & (beats.sample < start + length))
    wfdb.wrann(
        stem,
        "atr",
        sample=beats.sample[inside] - start,
        symbol=[beats.symbol[place] for place in inside.tolist()],
        fs=record.fs,
        write_dir=str(folder),
    )


def _mapping(site: str, leads: list[str]) -> dict[str, Json]:
    return {
        "site": site,
        "recordings": "recordings.csv",
        "annotation_column": "annotations",
        "channels": {f"lead_{number}": {"label": lead} for number, lead in enumerate(leads, 1)},
    }


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
