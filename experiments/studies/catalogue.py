"""The named studies, by name.

>>> ', '.join(study_names())
'demo, early_warning, ecg_beats, eicu_mortality, eicu_stay, generated_images, heart_disease, readmission, synthetic, tcga_brca'
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol, cast

from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite
from federation.errors import ConfigurationError

__all__ = ["PreparedStudy", "StudyDefinition", "StudySite", "load_study", "study_names"]


class StudyModule(Protocol):
    """What prepares a named study."""

    def prepare(self, options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
        """See :func:`load_study`."""
        ...


# Written out, so that a name from a settings file never becomes an import.
_MODULES: Final = {
    "demo": "experiments.studies.demo.study",
    "early_warning": "experiments.studies.early_warning.study",
    "ecg_beats": "experiments.studies.ecg_beats.study",
    "eicu_mortality": "experiments.studies.eicu_mortality.study",
    "eicu_stay": "experiments.studies.eicu_stay.study",
    "generated_images": "experiments.studies.generated_images.study",
    "heart_disease": "experiments.studies.heart_disease.study",
    "readmission": "experiments.studies.readmission.study",
    "synthetic": "experiments.studies.synthetic.study",
    "tcga_brca": "experiments.studies.tcga_brca.study",
}


def study_names() -> tuple[str, ...]:
    """Names of all studies, sorted."""
    return tuple(sorted(_MODULES))


def load_study(
    name: str, *, options: Mapping[str, object], seed: int, folder: Path, data: Path | None
) -> PreparedStudy:
    """Prepare a named study so that its sites can be read.

    Args:
        name: One of :func:`study_names`.
        options: The study's own options; see its README.
        seed: Seed of everything that is drawn: partitions, synthetic patients. The named studies are public or synthetic.
        folder: Where files of generated or partitioned hospitals are written; created if need be.
        data: The folder ``COHORTIUM_DATA``, for studies of downloaded records.

    Raises:
        ConfigurationError: For an unknown study or option, naming the nearest known one.
        RecordsUnreadableError: If the study's original files are not there, naming ``COHORTIUM_DATA`` and the file.
    """
    return study_module(name).prepare(options, seed=seed, folder=folder, data=data)


def study_module(name: str) -> StudyModule:
    """The code of a named study, imported.

    Raises:
        ConfigurationError: For an unknown study, naming the nearest known one.
    """
    if name not in _MODULES:
        nearest = difflib.get_close_matches(name, study_names(), n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ConfigurationError(
            f"expected a named study, got {name!r}", remedy=f"{hint}use one of {', '.join(study_names())}"
        )
    return cast("StudyModule", importlib.import_module(_MODULES[name]))
