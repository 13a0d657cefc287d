"""What each rehearsing hospital has on its disk before it hears of the consortium: a file of records, and a mapping."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from experiments.studies.catalogue import load_study
from experiments.studies.definition import find_data

HOSPITALS: Final = ("cleveland", "hungarian", "va")
_MAPPINGS: Final = Path(__file__).resolve().parents[1] / "studies" / "heart_disease"
_TRAINING_FRACTION: Final = 0.7


@dataclass(frozen=True)
class RehearsedRecords:
    """The study's public part, and where each hospital's records are.

    Args:
        contract: The data contract's file.
        provenance: Of the records.
        training_patients: Site to the number that it declares.
        mappings: Site to its mapping file, beside its records.
    """

    contract: Path
    provenance: str
    training_patients: Mapping[str, int]
    mappings: Mapping[str, Path]


def heart_disease(data: Path | None, folder: Path) -> RehearsedRecords:
    """Three hospitals of the heart disease data, as they were published.

    Args:
        data: The folder ``COHORTIUM_DATA``.
        folder: A folder for each hospital is made in it.

    Raises:
        RecordsUnreadableError: If a file is not there.
    """
    study = load_study("heart_disease", options={}, seed=0, folder=folder / "unused", data=data)
    patients = {entry.site: entry.public_patients for entry in study.sites}
    names = tuple(f"heart_disease/processed.{site}.data" for site in HOSPITALS)
    mappings: dict[str, Path] = {}
    for site, path in zip(HOSPITALS, find_data(data, study="heart_disease", files=names), strict=True):
        place = folder / site
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / path.name)
        mappings[site] = place / "mapping.yaml"
        shutil.copy(_MAPPINGS / "mappings" / f"{site}.yaml", mappings[site])
    return RehearsedRecords(
        contract=_MAPPINGS / "contract.yaml",
        provenance="public",
        training_patients={site: round(patients[site] * _TRAINING_FRACTION) for site in HOSPITALS},
        mappings=mappings,
    )


def synthetic(folder: Path, *, contract_of: Path | None = None) -> RehearsedRecords:
    """Three generated hospitals, for machines without the downloaded records.

    Args:
        folder: A folder for each hospital is made in it.
        contract_of: A contract that generated patients are to fit; ``None``: that of the synthetic study.
    """
    options = {"num_sites": 3} | ({} if contract_of is None else {"contract": str(contract_of)})
    study = load_study("synthetic", options=options, seed=7, folder=folder, data=None)
    contract = folder / "contract.yaml"
    contract.write_text(yaml.safe_dump(study.definition.contract.as_data(), sort_keys=False, allow_unicode=True))
    found = {path.parent.name: path for path in sorted(folder.rglob("mapping.yaml"))}
    return RehearsedRecords(
        contract=contract,
        provenance="synthetic",
        training_patients={entry.site: round(entry.public_patients * _TRAINING_FRACTION) for entry in study.sites},
        mappings={entry.site: found[entry.site] for entry in study.sites},
    )
