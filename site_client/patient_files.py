"""A site's encoded patients as one safetensors file. Images and signals stay where they were imported; it holds their rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from federation.data.feature_names import FeatureNames
from federation.documents import Json
from federation.durable_files import write_durably
from federation.errors import RecordsUnreadableError
from site_client.arrays.packing import pack, packed_rows, unpack
from site_client.arrays.streamed import StreamedRows
from site_client.patients import Features, PatientDataset, SiteData

_PARTS: Final = ("features", "outcomes")


def write_patients(path: Path, data: SiteData) -> None:
    """Write a site's encoded patients to one safetensors file."""
    arrays: dict[str, NDArray[Any]] = {}
    streamed: dict[str, Json] = {}
    for name, part in (("training", data.training), ("test", data.test)):
        arrays[f"{name}/patient_index"] = np.ascontiguousarray(part.patient_index)
        for kind, rows in zip(_PARTS, (part.features, part.outcomes), strict=True):
            if isinstance(rows, StreamedRows):
                numbers, packed = pack(rows, name=f"{name}/{kind}")
                arrays |= numbers
                streamed[f"{name}/{kind}"] = packed.as_data()
            else:
                arrays[f"{name}/{kind}"] = np.ascontiguousarray(rows)
    header = {"site": data.site, "feature_names": _names_as_data(data.training.feature_names)}
    write_durably(path, save(arrays, {"site": json.dumps(header | ({"streamed": streamed} if streamed else {}))}))


def read_patients(path: Path) -> SiteData:
    """Read what :func:`write_patients` wrote.

    Raises:
        RecordsUnreadableError: If the file is absent, or a store that it refers to is or was changed.
    """
    if not path.is_file():
        raise RecordsUnreadableError(
            f"expected encoded patients in {path}, got no such file", remedy="run the extraction again"
        )
    arrays = load_file(path)
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(json.loads(stream.read(length))["__metadata__"]["site"])
    site, streamed = header["site"], header.get("streamed", {})

    def rows(name: str) -> Features:
        if name not in streamed:
            return arrays[name]
        return unpack(arrays, packed_rows(streamed[name]), name=name, site=site)

    def part(name: str) -> PatientDataset:
        return PatientDataset(
            features=rows(f"{name}/features"),
            outcomes=rows(f"{name}/outcomes"),
            patient_index=arrays[f"{name}/patient_index"],
            feature_names=_names(header["feature_names"]),
        )

    return SiteData(site=site, training=part("training"), test=part("test"))


def _names_as_data(names: Sequence[str]) -> Json:
    if isinstance(names, FeatureNames):
        return {"blocks": [list(block) for block in names.blocks]}
    return list(names)


def _names(data: list[str] | dict[str, list[list[str | int]]]) -> Sequence[str]:
    if isinstance(data, list):
        return tuple(data)
    return FeatureNames(
        [(str(block[0]),) if len(block) == 1 else (str(block[0]), int(block[1])) for block in data["blocks"]]
    )
