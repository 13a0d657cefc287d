"""The named studies, by name.

>>> study_names()
('demo', 'eicu_mortality', 'eicu_stay', 'heart_disease', 'readmission', 'synthetic')
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


class _StudyModule(Protocol):
    def prepare(
        self, options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None
    ) -> PreparedStudy: ...


# Written out, so that a name from a settings file never becomes an import.
_MODULES: Final = {
    "demo": "experiments.studies.demo.study",
    "eicu_mortality": "experiments.studies.eicu_mortality.study",
    "eicu_stay": "experiments.studies.eicu_stay.study",
    "heart_disease": "experiments.studies.heart_disease.study",
    "readmission": "experiments.studies.readmission.study",
    "synthetic": "experiments.studies.synthetic.study",
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
    if name not in _MODULES:
        nearest = difflib.get_close_matches(name, study_names(), n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ConfigurationError(
            f"expected a named study, got {name!r}", remedy=f"{hint}use one of {', '.join(study_names())}"
        )
    module = cast("_StudyModule", importlib.import_module(_MODULES[name]))
    return module.prepare(options, seed=seed, folder=folder, data=data)
