"""Import of recordings: every listed file becomes windows in a store, and what was left out is counted.

Recordings are read one after another and their windows appended to a file, so memory is that of one recording. The store is
complete or absent: its description comes last, and when anything fails, what was written is removed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from federation.data.arrays import Signal
from federation.data.contract import DataContract
from federation.documents import Document
from federation.durable_files import write_durably
from federation.errors import InvalidInputError, RecordsError
from federation.identifiers import SiteId
from site_client.arrays.store import ArrayWriter, StoredFile, write_store
from site_client.signals.listing import ListedRecording, read_list
from site_client.signals.plan import AnnotatedWindows, SignalMapping, SignalPlan
from site_client.signals.reading import onset_seconds, read_annotations, read_recording
from site_client.signals.recording_windows import RecordingWindows, windows_of
from site_client.signals.tally import ImportStep, Tally

REPORT_FILE: Final = "import.json"
UNREADABLE: Final = "recording cannot be used"
_DTYPE: Final = "float32"
WINDOW_COLUMNS: Final = ("window_start", "window_end_seconds", "onset_seconds")
"""Columns of the store's table beside the list's own: a stamp or seconds, seconds, seconds or empty."""

Progress = Callable[[int, int], None]


class SignalImport(Document):
    """What an import did: counts only. Stays at the site."""

    site: SiteId
    variable: str
    recordings: int
    recordings_not_used: int
    patients: int
    steps: tuple[ImportStep, ...]
    """The attrition table: candidate windows, then what each reason left."""
    implausible_samples: int
    """Samples outside the plausible range: they became gaps."""
    store: str
    """Folder."""


@dataclass(frozen=True)
class ImportJob:
    """What is imported, and where to.

    Args:
        plan: How recordings become windows; agreed.
        mapping: Where the site's recordings are.
        contract: Of the study: the signal's rate and samples.
        folder: Of the mapping file.
        store: Folder of the store; new or empty.
        made_by: The command, in words.
        generated: Whether the recordings belong to nobody.
        skip_unusable: Leave recordings out that cannot be used, and count them; otherwise the first of them ends the import.
    """

    plan: SignalPlan
    mapping: SignalMapping
    contract: DataContract
    folder: Path
    store: Path
    made_by: str
    generated: bool = False
    skip_unusable: bool = False

    @property
    def signal(self) -> Signal:
        """The contract's.

        Raises:
            ManifestError: If plan and contract do not fit each other.
        """
        return self.plan.signal_of(self.contract)


def import_signals(job: ImportJob, *, progress: Progress | None = None) -> SignalImport:
    """Import a site's recordings into a new store.

    Args:
        job: What, from where and where to.
        progress: Told (recordings done, recordings).

    Raises:
        RecordsError: The first recording that cannot be used, by its line in the list, or no window is left.
        ManifestError: If plan and contract do not fit each other.
        InvalidInputError: If the store's folder is not empty.
    """
    signal = job.signal
    job.mapping.check_against(job.plan)
    listed = read_list(job.mapping, folder=job.folder)
    store = job.store
    if store.exists() and (not store.is_dir() or any(store.iterdir())):
        raise InvalidInputError(
            f"expected a new or empty folder for the store, got {store} with something in it",
            remedy="choose another folder; a store is never changed",
        )
    store.mkdir(parents=True, exist_ok=True)
    writer = ArrayWriter(store / f"{job.plan.variable}.npy", shape=signal.shape, dtype=_DTYPE)
    tally = Tally()
    try:
        for number, entry in enumerate(listed, 1):
            _add(job, entry, writer, tally)
            if progress is not None:
                progress(number, len(listed))
        _check_any(writer, tally, job.mapping)
        return _finish(job, writer, tally, recordings=len(listed))
    except BaseException:
        writer.abandon()
        for left in store.iterdir():  # only what this import wrote: the folder was empty
            left.unlink()
        raise


def _add(job: ImportJob, entry: ListedRecording, writer: ArrayWriter, tally: Tally) -> None:
    try:
        start, onset, found = _windows(job, entry)
    except RecordsError as failure:
        if job.skip_unusable:
            tally.unusable += 1
            return
        raise type(failure)(
            f"line {entry.line} of the list: {failure.message}",
            remedy=f"{failure.remedy}; or leave such recordings out, counted, with --skip-unusable",
        ) from failure
    tally.count(entry.patient, found)
    length = job.signal.samples / job.signal.sampling_rate_hz
    for row, begin in enumerate(found.starts.tolist()):
        cells = {
            **entry.others,
            job.mapping.patient_column: entry.patient,
            "window_start": _stamp(start, begin),
            "window_end_seconds": f"{begin + length:.3f}",
            "onset_seconds": "" if onset is None else f"{onset:.3f}",
            job.plan.variable: str(writer.append(found.windows[row])),
        }
        if found.outcomes is not None:
            cells[job.plan.outcome] = found.outcomes[row]
        tally.add(cells)


def _windows(job: ImportJob, entry: ListedRecording) -> tuple[dt.datetime | None, float | None, RecordingWindows]:
    site = job.mapping.site
    recording = read_recording(entry.file, plan=job.plan, mapping=job.mapping)
    annotations = None
    if isinstance(job.plan.windows, AnnotatedWindows) and entry.annotations is not None:
        annotations = read_annotations(entry.annotations, recording, site=site)
    onset = onset_seconds(entry.onset, recording.start, site=site)
    found = windows_of(
        recording, plan=job.plan, signal=job.signal, annotations=annotations, onset_seconds=onset, site=site
    )
    return recording.start, onset, found


def _stamp(start: dt.datetime | None, seconds: float) -> str:
    if start is None:
        return f"{seconds:.3f}"
    return (start + dt.timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def _check_any(writer: ArrayWriter, tally: Tally, mapping: SignalMapping) -> None:
    if writer.rows:
        return
    reasons = {reason: count for reason, count in tally.not_used.items() if count}
    raise RecordsError(
        f"expected at least one usable window, got none of {tally.offered}; left out: {reasons}, "
        f"and {tally.unusable} recordings that cannot be used",
        site=mapping.site,
        remedy="compare the plan with the recordings: rate, gaps, plausible ranges, annotations",
    )


def _finish(job: ImportJob, writer: ArrayWriter, tally: Tally, *, recordings: int) -> SignalImport:
    """Close the array's file, then write report, table and description."""
    rows, signal = writer.rows, job.signal
    not_used = tally.not_used | {UNREADABLE: tally.unusable}
    entry = StoredFile(
        name=job.plan.variable,
        shape=signal.shape,
        dtype=_DTYPE,
        rows=rows,
        unit=signal.unit,
        sha256=writer.close(),
        done=_done(job.plan, signal),
        not_used={reason: count for reason, count in not_used.items() if count},
    )
    report = SignalImport(
        site=job.mapping.site,
        variable=job.plan.variable,
        recordings=recordings,
        recordings_not_used=tally.unusable,
        patients=len(set(tally.table[job.mapping.patient_column])),
        steps=tally.steps(),
        implausible_samples=tally.implausible,
        store=str(job.store),
    )
    write_durably(job.store / REPORT_FILE, (report.model_dump_json(indent=1) + "\n").encode(), secret=True)
    write_store(job.store, table=tally.table, arrays=[entry], made_by=job.made_by, generated=job.generated)
    return report


def _done(plan: SignalPlan, signal: Signal) -> tuple[str, ...]:
    steps = [
        "samples outside the plausible range became gaps",
        f"gaps of up to {plan.longest_gap_seconds:g} s interpolated, recordings split at longer ones",
        f"resampled to {signal.sampling_rate_hz:g} Hz",
        f"cut into windows of {signal.samples} samples",
    ]
    return (*steps, "channels scaled by their plausible ranges") if plan.scaled else tuple(steps)
