"""Which side a patient is on, and in which order patients come: by keyed hash of the patient key, never by a value.

A patient's hash depends on nothing but the study's public ``split_key`` and the patient key. So all records of a patient go
together, a patient who is added moves no other, the same patient is on the same side at every site that knows the same key,
and a second extraction gives the same division.

The hash is keyed BLAKE2b (RFC 7693) with a separate personalisation for each purpose.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from federation.data.cohort import CohortDefinition
from site_client.patients import IndexArray, Records

Purpose = Literal["divide", "order", "cap"]
_PERSON: Final = {"divide": b"cohortium-divide", "order": b"cohortium-order", "cap": b"cohortium-cap"}
_RANGE: Final = 2**64


def digests(
    keys: NDArray[np.str_], *, split_key: str, purpose: Purpose, salts: IndexArray | None = None
) -> NDArray[np.uint64]:
    """One pseudo-random number per key.

    Args:
        keys: ``[P]`` patient keys.
        split_key: The study's public salt.
        purpose: Hashes for different purposes are independent.
        salts: ``[P]`` whole numbers that tell records of one patient apart.

    Returns:
        ``[P]`` uint64.
    """
    keyed = hashlib.blake2b(digest_size=8, key=hashlib.sha256(split_key.encode()).digest(), person=_PERSON[purpose])
    whole: list[bytes] = []
    if salts is None:
        keyed.update(_salted(0))
        for name in keys.tolist():
            one = keyed.copy()  # the key is taken in once
            one.update(name.encode())
            whole.append(one.digest())
    else:
        for name, salt in zip(keys.tolist(), salts.tolist(), strict=True):
            one = keyed.copy()
            one.update(_salted(salt) + name.encode())
            whole.append(one.digest())
    return np.frombuffer(b"".join(whole), dtype=">u8").astype(np.uint64)


def _salted(salt: int) -> bytes:
    """Of a fixed width, so that no salt and key look like another salt and key."""
    return salt.to_bytes(8, "big")


def divide(records: Records, *, definition: CohortDefinition) -> tuple[Records, Records]:
    """Divide records into training and test, by patient.

    Each patient is held out with chance ``test_fraction``, independently of the others; the share held out at a small site
    therefore varies.

    Args:
        records: Of eligible patients.
        definition: Supplies ``split_key`` and ``test_fraction``.

    Returns:
        Training and test records; either may be empty.
    """
    patients, codes = np.unique(records.patient_keys, return_inverse=True)
    threshold = np.uint64(min(round(definition.test_fraction * _RANGE), _RANGE - 1))
    is_test = digests(patients, split_key=definition.split_key, purpose="divide") < threshold
    held_out = is_test[codes]
    return records.rows(~held_out), records.rows(held_out)


def patient_order(records: Records, *, split_key: str) -> tuple[IndexArray, IndexArray]:
    """The order of rows in a dataset: patients by keyed hash, a patient's records by date, then as the source gave them.

    Args:
        records: In the source's order.
        split_key: The study's public salt.

    Returns:
        ``[R]`` row positions in their new order, and ``[R]`` patient indices, 0 to P - 1, non-decreasing.
    """
    patients, codes = np.unique(records.patient_keys, return_inverse=True)
    order = digests(patients, split_key=split_key, purpose="order")
    ranks = np.empty(len(patients), dtype=np.int64)
    # `patients` is sorted, so that even equal hashes leave one order.
    ranks[np.argsort(order, kind="stable")] = np.arange(len(patients))
    indices = ranks[codes]
    rows = np.lexsort((dates_as_numbers(records), indices))
    return rows.astype(np.int64), indices[rows]


def capped(records: Records, *, definition: CohortDefinition) -> NDArray[np.bool_]:
    """Which records stay when no patient may have more than ``max_records_per_patient``.

    A record's place in the order of dropping is a keyed hash of the patient key and the record's number among the patient's
    records (by date, then as the source gave them). No value of the record takes part.

    Returns:
        ``[R]`` booleans.
    """
    keep = np.ones(len(records), dtype=np.bool_)
    patients, codes, counts = np.unique(records.patient_keys, return_inverse=True, return_counts=True)
    limit = definition.max_records_per_patient
    exceeding = np.flatnonzero(counts[codes] > limit)
    if not len(exceeding):
        return keep
    numbered = exceeding[np.lexsort((dates_as_numbers(records)[exceeding], codes[exceeding]))]
    ordinals = _places(codes[numbered])
    hashes = digests(patients[codes[numbered]], split_key=definition.split_key, purpose="cap", salts=ordinals)
    dropped_last = np.lexsort((hashes, codes[numbered]))
    keep[numbered[dropped_last]] = _places(codes[numbered][dropped_last]) < limit
    return keep


def dates_as_numbers(records: Records) -> IndexArray:
    """``[R]`` days since 1970, 0 without an index date: something to sort by."""
    if records.index_dates is None:
        return np.zeros(len(records), dtype=np.int64)
    return records.index_dates.astype("datetime64[D]").astype(np.int64)


def _places(groups: IndexArray) -> IndexArray:
    """Place of each element within its run of equal neighbours, from 0."""
    positions = np.arange(len(groups))
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    return positions - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))
