"""One recording or one set of annotations, whatever the format: the file's suffix decides."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from federation.errors import MappingError, RecordsUnreadableError
from site_client.signals.csv_signals import read_csv_annotations, read_signal_csv
from site_client.signals.edf_files import read_edf, read_edf_annotations
from site_client.signals.plan import LocalChannel, SignalMapping, SignalPlan
from site_client.signals.recording import Annotations, Recording
from site_client.signals.wfdb_files import read_wfdb, read_wfdb_annotations
from site_client.sources.units import convert_factor


def read_recording(path: Path, *, plan: SignalPlan, mapping: SignalMapping) -> Recording:
    """Read the plan's channels of one file, in the plan's units and under the plan's names.

    Args:
        path: ``.hea`` (WFDB), ``.edf`` or ``.csv``.
        plan: Names and units of channels.
        mapping: What the site calls them.

    Raises:
        RecordsError: As the readers do; MappingError also for a unit that does not convert.
    """
    site = mapping.site
    local = {name: mapping.channels[name] for name in plan.channel_names}
    labels = tuple(channel.label for channel in local.values())
    match path.suffix.lower():
        case ".hea":
            found = read_wfdb(path, site=site).select(labels, site=site)
        case ".edf":
            found = read_edf(path, channels=labels, site=site)
        case ".csv":
            found = read_signal_csv(
                path, units=_units(local, site), time_column=mapping.time_column, rate_hz=mapping.rate_hz, site=site
            )
        case _:
            raise RecordsUnreadableError(
                "expected a recording in .hea, .edf or .csv, got another suffix",
                site=site,
                remedy="name the header file of a WFDB record; export others as EDF or CSV",
            )
    return _in_plan_units(found, plan=plan, local=local, site=site)


def read_annotations(path: Path, recording: Recording, *, site: str) -> Annotations:
    """Read annotations of a recording.

    Args:
        path: ``.edf``, ``.csv``, or a WFDB annotation file of any other suffix.
        recording: Gives the start, and the rate where the file does not say its own.
        site: For messages.

    Raises:
        RecordsError: As the readers do.
    """
    match path.suffix.lower():
        case ".edf":
            return read_edf_annotations(path, site=site)
        case ".csv":
            return read_csv_annotations(path, start=recording.start, site=site)
        case _:
            return read_wfdb_annotations(path, rate_hz=recording.sampling_rate_hz, site=site)


def onset_seconds(text: str, start: dt.datetime | None, *, site: str) -> float | None:
    """An onset as seconds after the first sample; ``None`` for an empty cell.

    Raises:
        MappingError: If it is neither seconds nor a stamp, or a stamp beside a recording without a start.
    """
    if not text:
        return None
    seconds, stamp = _number(text), _stamp(text)
    if seconds is not None and math.isfinite(seconds):
        return seconds
    if start is None or stamp is None:
        raise MappingError(
            "expected an onset in seconds, or as a stamp without zone beside a recording with a start, got another",
            site=site,
            remedy="correct the onset's column in the list of recordings",
        )
    return (stamp - start).total_seconds()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _stamp(text: str) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is None else None


def _units(local: Mapping[str, LocalChannel], site: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, channel in local.items():
        if channel.unit is None:
            raise MappingError(
                "expected the unit of every channel of a CSV file, got none",
                site=site,
                variable=name,
                remedy="set `unit` in the mapping",
            )
        found[channel.label] = channel.unit
    return found


def _in_plan_units(found: Recording, *, plan: SignalPlan, local: Mapping[str, LocalChannel], site: str) -> Recording:
    channels = found.channels.copy()
    for row, (channel, said) in enumerate(zip(plan.channels, found.units, strict=True)):
        unit = local[channel.name].unit or said
        change = convert_factor(unit, channel.unit, variable=channel.name, site=site)
        if (change.factor, change.offset) != (1.0, 0.0):
            channels[row] = (channels[row].astype(np.float64) * change.factor + change.offset).astype(np.float32)
    return replace(
        found, channels=channels, names=plan.channel_names, units=tuple(channel.unit for channel in plan.channels)
    )
