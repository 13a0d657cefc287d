"""The study ``generated_images``: find a lesion that was drawn into generated slices. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite, read_contract
from experiments.studies.generated_images.files import TABLE, write_hospital
from experiments.studies.generated_images.pictures import SIDE, PictureOptions, draw_slices, scanner_of
from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.documents import Json
from federation.durable_files import write_durably
from federation.errors import ConfigurationError, MappingError
from federation.privacy.randomness import seeded_streams
from site_client.images.imported import ImportChoice
from site_client.images.importing import import_images
from site_client.images.labels import read_labels
from site_client.sources.mapping import SiteMapping
from site_client.sources.tables import TableSource

_HERE: Final = Path(__file__).parent
_MASK: Final[dict[str, Json]] = {
    "name": "lesion",
    "kind": "mask",
    "description": "where a lesion was drawn into the slice",
    "height": SIDE,
    "width": SIDE,
}
FILES: Final = "files"
STORE: Final = "store"


def define(options: PictureOptions) -> StudyDefinition:
    """The study's public definition."""
    marks = options.task == "segmentation"
    return StudyDefinition(
        name="generated_images",
        title=f"Generated slices with a known lesion: {options.task}",
        question="Where in the slice is the lesion?" if marks else "Is there a lesion in the slice?",
        provenance="synthetic",
        data_licence="generated; no licence needed, and nobody was ever in a scanner",
        task="segmentation" if marks else "binary",
        contract=_contract(options),
        cohort=CohortDefinition(provenance="synthetic", max_records_per_patient=options.images_per_patient),
    )


def _contract(options: PictureOptions) -> DataContract:
    written = read_contract(_HERE / "contract.yaml")
    if options.task == "classification":
        return written
    return DataContract.from_data({**written.as_data(), "outcome": _MASK})


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Draw the hospitals' slices, write them as DICOM files, and import them as a hospital would.

    Args:
        options: See :class:`PictureOptions`.
        seed: Of everything drawn.
        folder: Where ``<site>/files``, ``<site>/store`` and ``<site>/mapping.yaml`` are written.
        data: Not needed.

    Raises:
        ConfigurationError: For an unknown or impossible option.
    """
    del data
    chosen = PictureOptions.from_data(dict(options), error=ConfigurationError)
    definition = define(chosen)
    streams = seeded_streams(seed, provenance=definition.provenance).child("study", "generated_images")
    sites: list[StudySite] = []
    for number in range(chosen.num_sites):
        site = f"hospital-{number + 1:02d}"
        scanner = scanner_of(number, noise=chosen.noise)
        slices = draw_slices(chosen, scanner, site=site, generator=streams.stream("slices", site))
        patients = write_hospital(
            slices, scanner, folder=folder / site / FILES, with_masks=chosen.task == "segmentation"
        )
        mapping = _imported(folder / site, site=site, contract=definition.contract)
        sites.append(StudySite(site=site, source=TableSource(mapping, folder=folder / site), public_patients=patients))
    return PreparedStudy(definition=definition, sites=tuple(sites))


def _imported(folder: Path, *, site: str, contract: DataContract) -> SiteMapping:
    """Import a hospital's files, unless that was done; returns its mapping, which is also on disk."""
    if not (folder / STORE / "store.json").is_file():
        import_images(
            folder / FILES,
            table=read_labels(folder / FILES / TABLE, delimiter=","),
            columns={variable.name: f"{variable.name}_file" for variable in contract.arrays},
            contract=contract,
            store=folder / STORE,
            choice=ImportChoice(generated=True, made_by="the study generated_images, from generated DICOM files"),
        )
    outcome = contract.outcome.name
    columns = {"slice": "slice", outcome: outcome if contract.outcome.kind == "mask" else "lesion_present"}
    data: dict[str, Json] = {
        "site": site,
        "source": {"kind": "store", "path": STORE},
        "patient_key": {"column": "patient", "repeated": True},
        "variables": {name: {"column": column} for name, column in columns.items()},
    }
    write_durably(folder / "mapping.yaml", yaml.safe_dump(data, sort_keys=False).encode())
    return SiteMapping.from_data(data, error=MappingError)
