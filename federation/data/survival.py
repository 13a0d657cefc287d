"""Outcomes in time as one number a record, so that they pass through whatever a class or a count passes through.

``+(1 + time)`` for an event, ``-(1 + time)`` where follow-up ended without one; the 1 keeps the sign of time 0. Float32 holds
whole days exactly up to 2**24.

Axis names: R records.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import DataContract, TimeToEvent
from federation.errors import InternalError

FloatArray = NDArray[np.float64]


def encode_times(contract: DataContract, values: Mapping[str, FloatArray]) -> NDArray[np.float32]:
    """Encode an outcome in time.

    Args:
        contract: Its outcome names the columns.
        values: Column name to ``[R]`` float64, none missing: times in the contract's unit, events 0 or 1.

    Returns:
        ``[R]`` float32; times count from entry, where there is one.

    Raises:
        InternalError: If the outcome is not one in time, a value is missing, or a time is negative or before entry.
    """
    outcome = contract.outcome
    if not isinstance(outcome, TimeToEvent):
        raise InternalError(f"expected an outcome of kind 'time_to_event', got {outcome.kind!r}")
    time = np.asarray(values[outcome.name], dtype=np.float64)
    if outcome.entry is not None:
        time = time - values[outcome.entry]
    is_event = values[outcome.event]
    if np.isnan(time).any() or np.isnan(is_event).any() or (time < 0).any():
        raise InternalError(f"expected times of {outcome.name} from 0 and no missing value, got others")
    return (np.where(is_event > 0.5, 1.0, -1.0) * (1 + time)).astype(np.float32)  # noqa: PLR2004 - between the two codes


def decode_times(encoded: NDArray[np.floating]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Undo :func:`encode_times`: ``[R]`` times in the contract's unit, and ``[R]`` whether the event happened."""
    wide = np.asarray(encoded, dtype=np.float64)
    return np.abs(wide) - 1, wide > 0
