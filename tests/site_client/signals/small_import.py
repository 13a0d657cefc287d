"""A small site with recordings in three formats, and the plan that its study agreed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from federation.data.contract import DataContract
from site_client.signals.importing import ImportJob
from site_client.signals.plan import SignalMapping, SignalPlan
from tests.site_client.signals.signal_files import waves, write_csv, write_edf, write_wfdb, write_wfdb_annotations

CONTRACT = DataContract.from_data(
    {
        "name": "beats",
        "patient_key": "patient",
        "variables": [
            {
                "name": "ecg", "kind": "signal", "channels": 2, "samples": 50, "sampling_rate_hz": 50,
                "minimum": -5, "maximum": 5, "unit": "mV",
            }
        ],
        "outcome": {"name": "abnormal", "kind": "binary"},
    }
)  # fmt: skip
PLAN = {
    "variable": "ecg",
    "outcome": "abnormal",
    "longest_gap_seconds": 0.1,
    "channels": [
        {"name": name, "unit": "mV", "minimum": -5, "maximum": 5, "clipped_samples": 5, "flat_seconds": 0.5}
        for name in ("first", "second")
    ],
    "windows": {"kind": "annotated", "before_seconds": 0.5, "levels": {"N": "0", "V": "1"}},
}
MAPPING = {
    "site": "north",
    "recordings": "recordings.csv",
    "annotation_column": "marks",
    "channels": {"first": {"label": "lead0", "unit": "mV"}, "second": {"label": "lead1", "unit": "mV"}},
}
MARKS = [(0.2, "N"), (2.0, "N"), (4.0, "V"), (6.0, "+"), (8.0, "N"), (9.8, "V")]
"""The first and the last are too near the ends for a window; one is of another kind."""


def _signal(level: float) -> np.ndarray:
    """Ten seconds around a level of their own, so that a window says whose it is."""
    return waves() * 0.1 + level


def write_site(folder: Path) -> list[list[str]]:
    """Three patients: one of two WFDB records, one in EDF, one in CSV; returns the lines of the list."""
    seconds, symbols = [at for at, _ in MARKS], [symbol for _, symbol in MARKS]
    for number, level in enumerate((1.0, 1.1)):
        write_wfdb(folder, _signal(level), name=f"w{number}")
        write_wfdb_annotations(folder, seconds, symbols, name=f"w{number}")
    write_edf(folder / "e.edf", _signal(2.0), marks=MARKS)
    values = _signal(3.0)
    times = [f"{place / 100:.2f}" for place in range(values.shape[1])]
    write_csv(folder / "c.csv", times, {f"lead{row}": [f"{v:.5f}" for v in values[row]] for row in range(2)})
    write_csv(folder / "c_marks.csv", [str(at) for at in seconds], {"label": symbols})
    lines = [
        ["patient", "file", "marks", "ward"],
        ["anna", "w0.hea", "w0.atr", "a"],
        ["anna", "w1.hea", "w1.atr", "a"],
        ["ben", "e.edf", "e.edf", "b"],
        ["cleo", "c.csv", "c_marks.csv", "b"],
    ]
    write_list(folder, lines)
    (folder / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    (folder / "signals.yaml").write_text(yaml.safe_dump(MAPPING))
    (folder / "contract.yaml").write_text(yaml.safe_dump(CONTRACT.as_data()))
    return lines


def write_list(folder: Path, lines: list[list[str]]) -> None:
    """The list of recordings."""
    (folder / "recordings.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")


def job(folder: Path, **changes: object) -> ImportJob:
    """An import of the site into ``folder/store``."""
    plan = SignalPlan.from_data(PLAN | dict(changes.pop("plan", {})))
    mapping = SignalMapping.from_data(MAPPING | dict(changes.pop("mapping", {})))
    arguments = {"contract": CONTRACT, "folder": folder, "store": folder / "store", "made_by": "a test"} | changes
    return ImportJob(plan=plan, mapping=mapping, **arguments)
