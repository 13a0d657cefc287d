"""An import keeps patients and times together, counts everything it leaves out, and is complete or absent."""

from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path

import numpy as np
import pytest

from federation.errors import (
    CohortiumError,
    InvalidInputError,
    ManifestError,
    MappingError,
    PatientKeyError,
    RecordsError,
    RecordsUnreadableError,
)
from site_client.signals.importing import REPORT_FILE, import_signals
from site_client.sources.mapping import SiteMapping
from site_client.sources.tables import TableSource
from tests.site_client.signals.signal_files import START, write_edf
from tests.site_client.signals.small_import import CONTRACT, job, write_list, write_site

LEVELS = {"anna": (1.0, 1.1), "ben": (2.0,), "cleo": (3.0,)}


def _rows(store: Path) -> list[dict[str, str]]:
    with (store / "records.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_format_becomes_windows_of_its_own_patient(tmp_path: Path) -> None:
    write_site(tmp_path)
    found = import_signals(job(tmp_path))
    arrays = np.load(tmp_path / "store" / "ecg.npy", allow_pickle=False)
    rows = _rows(tmp_path / "store")
    assert arrays.shape == (len(rows), 2, 50)
    assert len(rows) == 4 * 3
    assert (found.recordings, found.patients, found.recordings_not_used) == (4, 3, 0)
    for row in rows:
        level = float(np.median(arrays[int(row["ecg"])][:, 5:-5]))
        assert min(abs(level - known) for known in LEVELS[row["patient"]]) < 0.02, "a window of another patient"
    assert [row["abnormal"] for row in rows if row["patient"] == "ben"] == ["0", "1", "0"]
    assert {row["ward"] for row in rows if row["patient"] == "cleo"} == {"b"}


def test_windows_hold_the_samples_around_their_annotation(tmp_path: Path) -> None:
    write_site(tmp_path)
    import_signals(job(tmp_path))
    arrays = np.load(tmp_path / "store" / "ecg.npy", allow_pickle=False)
    for row in _rows(tmp_path / "store"):
        if row["patient"] != "ben":
            continue
        assert float(row["window_end_seconds"]) in {2.5, 4.5, 8.5}
        assert dt.datetime.fromisoformat(row["window_start"]) == START + dt.timedelta(
            seconds=float(row["window_end_seconds"]) - 1
        )
        at = float(row["window_end_seconds"]) - 1 + np.arange(50) / 50
        np.testing.assert_allclose(arrays[int(row["ecg"])][0], 2 + 0.1 * np.sin(2 * np.pi * at), atol=2e-3)


def test_the_attrition_table_adds_up(tmp_path: Path) -> None:
    write_site(tmp_path)
    found = import_signals(job(tmp_path))
    assert [(step.what, step.windows, step.patients) for step in found.steps] == [
        ("candidate windows", 24, 3),
        ("without: annotation of another kind", 20, 3),
        ("without: a gap that is too long", 12, 3),
        ("without: clipped", 12, 3),
        ("without: flat", 12, 3),
    ]
    assert json.loads((tmp_path / "store" / REPORT_FILE).read_text())["steps"][1]["windows"] == 20


def test_clipped_and_flat_windows_are_counted_and_left_out(tmp_path: Path) -> None:
    lines = write_site(tmp_path)
    at = np.arange(1000) / 100
    values = np.stack([0.1 * np.sin(2 * np.pi * at), 0.1 * np.sin(4 * np.pi * at)])
    values[0, 390:402] = 5.0
    values[1, 770:850] = 0.05
    write_edf(tmp_path / "e.edf", values, marks=[(2.0, "N"), (4.0, "V"), (8.0, "N")])
    write_list(tmp_path, [lines[0], lines[3]])
    found = import_signals(job(tmp_path))
    assert [step.windows for step in found.steps] == [3, 3, 3, 2, 1]


def test_samples_outside_the_range_are_gaps(tmp_path: Path) -> None:
    lines = write_site(tmp_path)
    at = np.arange(1000) / 100
    values = np.stack([0.1 * np.sin(2 * np.pi * at), 0.1 * np.sin(4 * np.pi * at)])
    values[0, 390:402] = 9.0
    values[0, 800:804] = -7.0
    write_edf(tmp_path / "e.edf", values, marks=[(2.0, "N"), (4.0, "V"), (8.0, "N")])
    write_list(tmp_path, [lines[0], lines[3]])
    no_clipping = [{"name": name, "unit": "mV", "minimum": -5, "maximum": 5} for name in ("first", "second")]
    found = import_signals(job(tmp_path, plan={"channels": no_clipping}))
    assert found.implausible_samples == 16
    assert [step.windows for step in found.steps][:3] == [3, 3, 2], "12 samples are too long a gap, 4 are not"


def test_the_store_is_read_by_the_contract(tmp_path: Path) -> None:
    write_site(tmp_path)
    import_signals(job(tmp_path))
    mapping = SiteMapping.from_data(
        {
            "site": "north",
            "source": {"kind": "store", "path": "store"},
            "patient_key": {"column": "patient", "repeated": True},
            "variables": {"ecg": {"column": "ecg"}, "abnormal": {"column": "abnormal"}},
        }
    )
    records = TableSource(mapping, folder=tmp_path).read(CONTRACT, today=dt.date(2026, 2, 1))
    assert len(records) == 12
    assert sorted(set(records.patient_keys.tolist())) == ["anna", "ben", "cleo"]
    assert records.values["abnormal"].sum() == 4


BROKEN = {
    "an absent file": lambda folder: (folder / "c.csv").unlink(),
    "a truncated EDF": lambda folder: (folder / "e.edf").write_bytes((folder / "e.edf").read_bytes()[:-99]),
    "a truncated record": lambda folder: (folder / "w1.dat").write_bytes((folder / "w1.dat").read_bytes()[:-2]),
    "unordered times": lambda folder: (folder / "c.csv").write_text("time,lead0,lead1\n1,0,0\n0,0,0\n"),
    "another unit": lambda folder: write_edf(folder / "e.edf", np.zeros((2, 1000)), unit="furlong"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_recording_that_cannot_be_used_ends_the_import_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    write_site(tmp_path)
    BROKEN[name](tmp_path)
    changes = {}
    if name == "another unit":
        changes = {"mapping": {"channels": {"first": {"label": "lead0"}, "second": {"label": "lead1"}}}}
        write_list(tmp_path, [["patient", "file", "marks"], ["ben", "e.edf", "e.edf"]])
    with pytest.raises(RecordsError, match=r"line \d of the list") as refusal:
        import_signals(job(tmp_path, **changes))
    assert not any((tmp_path / "store").iterdir())
    for patient in LEVELS:
        assert patient not in str(refusal.value)


@pytest.mark.parametrize("name", ["an absent file", "a truncated EDF", "a truncated record", "unordered times"])
def test_or_is_counted_where_that_was_asked_for(name: str, tmp_path: Path) -> None:
    write_site(tmp_path)
    BROKEN[name](tmp_path)
    found = import_signals(job(tmp_path, skip_unusable=True))
    assert (found.recordings, found.recordings_not_used) == (4, 1)
    store = json.loads((tmp_path / "store" / "store.json").read_text())
    assert store["arrays"][0]["not_used"]["recording cannot be used"] == 1
    assert len(_rows(tmp_path / "store")) == 9


def test_nothing_usable_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    write_site(tmp_path)
    plan = {"windows": {"kind": "annotated", "before_seconds": 0.5, "levels": {"Q": "1"}}}
    with pytest.raises(RecordsError, match=r"none of 24; left out: .*another kind': 24"):
        import_signals(job(tmp_path, plan=plan))
    assert not any((tmp_path / "store").iterdir())


def test_a_store_is_never_written_over(tmp_path: Path) -> None:
    write_site(tmp_path)
    import_signals(job(tmp_path))
    before = (tmp_path / "store" / "ecg.npy").read_bytes()
    with pytest.raises(InvalidInputError, match="new or empty folder"):
        import_signals(job(tmp_path))
    assert (tmp_path / "store" / "ecg.npy").read_bytes() == before


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    write_site(tmp_path)

    def stop(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_signals(job(tmp_path), progress=stop)
    assert not any((tmp_path / "store").iterdir())


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([["patient", "file", "marks"]], RecordsUnreadableError),
        ([["patient", "path", "marks"], ["a", "w0.hea", "w0.atr"]], MappingError),
        ([["patient", "file", "marks"], ["", "w0.hea", "w0.atr"]], PatientKeyError),
        ([["patient", "file", "marks"], ["a", "../w0.hea", "w0.atr"]], MappingError),
        ([["patient", "file", "marks"], ["a", "/etc/passwd", "w0.atr"]], MappingError),
        ([["patient", "file", "marks"], ["a", "w0.hea"]], RecordsUnreadableError),
        ([["patient", "file", "marks"], ["a", "recordings.txt", "w0.atr"]], RecordsUnreadableError),
        ([["patient", "file", "marks"], ["a", "w0.hea", ""]], MappingError),
    ],
)
def test_bad_lists_are_refused(lines: list[list[str]], error: type[CohortiumError], tmp_path: Path) -> None:
    write_site(tmp_path)
    write_list(tmp_path, lines)
    with pytest.raises(error):
        import_signals(job(tmp_path))


@pytest.mark.parametrize(
    "plan",
    [
        {"variable": "abnormal"},
        {"outcome": "another"},
        {"scaled": True},
        {"channels": [{"name": "first", "unit": "mV", "minimum": -5, "maximum": 5}]},
        {"channels": [{"name": name, "unit": "mV", "minimum": -4, "maximum": 5} for name in ("first", "second")]},
        {"channels": [{"name": "first", "unit": "mV", "minimum": -5, "maximum": 5}] * 2},
    ],
)
def test_a_plan_that_does_not_fit_the_contract_is_refused(plan: dict[str, object], tmp_path: Path) -> None:
    write_site(tmp_path)
    with pytest.raises(ManifestError):
        import_signals(job(tmp_path, plan=plan))


def test_a_mapping_without_a_channel_is_refused(tmp_path: Path) -> None:
    write_site(tmp_path)
    with pytest.raises(MappingError, match=r"without \['second'\]"):
        import_signals(job(tmp_path, mapping={"channels": {"first": {"label": "lead0", "unit": "mV"}}}))
