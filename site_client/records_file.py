"""A site's records in the contract's terms, on its own disk: what exact statistics are computed from.

The file is made with the encoded patients and read by the agent, which may have no way to the hospital's database. It holds patient
identifiers, since a selection of one record per patient depends on them; it is for its owner only and never leaves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from federation.durable_files import write_durably
from federation.errors import RecordsUnreadableError
from site_client.patients import Records

FILE: Final = "records.safetensors"
_KEYS, _DATES, _VALUE = "patient_keys", "index_dates", "value/"
_HEADER: Final = "records"
_LENGTH_BYTES: Final = 8
_SETTINGS: Final = ("records", "answers", "genotypes", "variants")


@dataclass(frozen=True)
class RecordsAt:
    """Where a site's records are, and what it remembers of earlier answers about them.

    Args:
        file: Written by :func:`write_records`.
        answers: Folder of hashes of the patients that answers were about.
        genotypes: PLINK files of the same patients, without suffix, where the study needs them.
        variants: The study's list of variants.
    """

    file: Path
    answers: Path
    genotypes: Path | None = None
    variants: Path | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> RecordsAt | None:
        """What :meth:`as_settings` wrote among other settings; ``None`` if nothing."""
        named = {key: Path(str(settings[key])) for key in _SETTINGS if key in settings}
        if not {"records", "answers"} <= named.keys():
            return None
        return cls(named["records"], named["answers"], named.get("genotypes"), named.get("variants"))

    def as_settings(self) -> dict[str, str]:
        """Absolute paths by name."""
        paths = zip(_SETTINGS, (self.file, self.answers, self.genotypes, self.variants), strict=True)
        return {key: str(path.resolve()) for key, path in paths if path is not None}


def write_records(path: Path, records: Records) -> None:
    """Write records to one safetensors file, for its owner only."""
    arrays: dict[str, np.ndarray] = {
        _VALUE + name: np.ascontiguousarray(column, dtype=np.float64) for name, column in records.values.items()
    }
    arrays[_KEYS] = np.frombuffer(json.dumps(records.patient_keys.tolist()).encode(), dtype=np.uint8)
    if records.index_dates is not None:
        arrays[_DATES] = records.index_dates.astype("datetime64[D]").astype(np.int64)
    write_durably(path, save(arrays, {_HEADER: json.dumps({"site": records.site})}), secret=True)


def read_records(path: Path) -> Records:
    """Read what :func:`write_records` wrote.

    Raises:
        RecordsUnreadableError: If the file is absent or another.
    """
    try:
        arrays = load_file(path)
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            site = json.loads(json.loads(stream.read(length))["__metadata__"][_HEADER])["site"]
        keys = json.loads(arrays.pop(_KEYS).tobytes())
    except (OSError, SafetensorError, ValueError, KeyError) as failure:
        raise RecordsUnreadableError(
            f"expected a site's records in {path}, got {type(failure).__name__}",
            remedy="run `cohortium site prepare` again",
        ) from failure
    dates = arrays.pop(_DATES, None)
    return Records(
        site=str(site),
        patient_keys=np.array(keys, dtype=np.str_),
        values={name.removeprefix(_VALUE): column for name, column in arrays.items()},
        index_dates=None if dates is None else dates.astype("datetime64[D]"),
    )
