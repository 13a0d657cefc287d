"""What each hospital of the container test has on its disk: generated patients, for the contract of the heart disease study."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deploy.container_test.consortium import SITES
from experiments.rehearsal.records import RehearsedRecords, synthetic

_CONTRACT: Final = Path(__file__).resolve().parents[2] / "experiments/studies/heart_disease/contract.yaml"


def generate_records(folder: Path) -> tuple[RehearsedRecords, dict[str, Path]]:
    """Draw three hospitals, and give them the names of the guides.

    Args:
        folder: Made; a folder for each hospital in it.

    Returns:
        What is public of them, and each hospital's folder.
    """
    drawn = synthetic(folder, contract_of=_CONTRACT)
    names = dict(zip(drawn.mappings, SITES, strict=True))
    for old, mapping in drawn.mappings.items():
        text = mapping.read_text(encoding="utf-8")
        mapping.write_text(text.replace(f"site: {old}\n", f"site: {names[old]}\n"), encoding="utf-8")
    mappings = {names[old]: mapping for old, mapping in drawn.mappings.items()}
    patients = {names[old]: number for old, number in drawn.training_patients.items()}
    public = RehearsedRecords(drawn.contract, drawn.provenance, patients, mappings)
    return public, {site: mapping.parent for site, mapping in mappings.items()}
