"""A small store of generated signals or images, its contract and its mapping, for the tests of whatever reads one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from site_client.arrays.store import ArrayWriter, StoredFile, write_store
from site_client.sources.mapping import SiteMapping

COHORT = CohortDefinition(provenance="synthetic", max_records_per_patient=10, test_fraction=0.3)
SCAN = {
    "name": "scan", "kind": "image", "modality": "generated disc", "channels": 1, "height": 8, "width": 8,
    "minimum": 0, "maximum": 100, "unit": "dimensionless",
}  # fmt: skip
ECG = {
    "name": "ecg", "kind": "signal", "channels": 2, "samples": 12, "sampling_rate_hz": 100,
    "minimum": -5, "maximum": 5, "unit": "mV",
}  # fmt: skip
AGE = {"name": "age", "kind": "continuous", "unit": "year", "minimum": 0, "maximum": 100}
DOSE = {"name": "dose", "kind": "categorical", "levels": ["low", "middle", "high"]}


def contract(*variables: dict, outcome: dict | None = None) -> DataContract:
    return DataContract.from_data(
        {
            "name": "small",
            "patient_key": "patient",
            "variables": list(variables) or [AGE, SCAN],
            "outcome": outcome or {"name": "lesion", "kind": "binary"},
        }
    )


def mapping(contract_: DataContract, *, site: str = "hillcrest", path: str = "store") -> SiteMapping:
    return SiteMapping.from_data(
        {
            "site": site,
            "source": {"kind": "store", "path": path},
            "patient_key": {"column": "patient", "repeated": True},
            "variables": {
                variable.name: {"column": variable.name} | ({"unit": "year"} if variable.name == "age" else {})
                for variable in contract_.columns
            },
        }
    )


def write_small_store(
    folder: Path,
    contract_: DataContract,
    *,
    patients: int = 20,
    images: int = 2,
    cells: dict[int, str] | None = None,
    seed: int = 0,
    dtype: str = "float32",
) -> dict[str, np.ndarray]:
    """Write ``images`` records of each of ``patients``; returns each array variable's values as stored.

    ``cells`` replaces what the table says about the arrays of single records.
    """
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    records = patients * images
    table = {
        "patient": [f"p{record // images:04d}" for record in range(records)],
        "age": [f"{generator.uniform(20, 90):.3f}" for _ in range(records)],
        "dose": [("low", "middle", "high")[record % 3] for record in range(records)],
        "lesion": [str(record // images % 2) for record in range(records)],
    }
    files, stored = [], {}
    for variable in contract_.arrays:
        values = generator.uniform(0, 1, (records, *variable.shape))
        if variable.kind == "mask":
            values = (values > 0.5).astype(float)
        else:
            values = variable.minimum + values * (variable.maximum - variable.minimum)
            values += 5.0 * (np.arange(records) // images % 2).reshape(-1, *([1] * len(variable.shape)))
        kept = np.rint(values).astype(dtype) if dtype != "float32" else values.astype("float32")
        writer = ArrayWriter(folder / f"{variable.name}.npy", shape=variable.shape, dtype=dtype)
        rows = [writer.append(one) for one in kept]
        files.append(
            StoredFile(
                name=variable.name, shape=variable.shape, dtype=dtype, rows=len(rows),
                unit=getattr(variable, "unit", "dimensionless"), sha256=writer.close(),
            )
        )  # fmt: skip
        table[variable.name] = [(cells or {}).get(row, str(row)) for row in rows]
        stored[variable.name] = kept
    write_store(folder, table=table, arrays=files, made_by="a test", generated=True)
    return stored
