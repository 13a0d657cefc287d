"""What a named study is: a definition, its sites' record sources, and where needed a ready-made division of the patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract, Variable
from federation.errors import ConfigurationError, ManifestError, RecordsUnreadableError
from federation.identifiers import Provenance, TaskKind
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, QuantileTerms
from site_client.patients import SiteData
from site_client.sources.source import RecordSource


@dataclass(frozen=True)
class StudyDefinition:
    """Everything public about a named study.

    Args:
        name: The study's short name.
        title: One line.
        question: What the study asks of the patients.
        provenance: ``public`` or ``synthetic``; no named study holds patients that are not public.
        data_licence: Licence and attribution of the records.
        task: Kind of outcome.
        contract: Meaning of every column.
        cohort: Default cohort definition.
        task_terms: Levels of quantiles, intervals and method of survival; ``None`` for other tasks.
        expected: Metric name to (value, tolerance), as published or as measured by the command in the study's README.
        beside: Variables that the sites also have of their test patients and that no model sees: others' predictions, times. They
            are looked at after training (``cohortium operations``); where one is missing, nobody is excluded.
        rivals: Of these, the ones that predict the outcome too, with a short title.
    """

    name: str
    title: str
    question: str
    provenance: Provenance
    data_licence: str
    task: TaskKind
    contract: DataContract
    cohort: CohortDefinition
    task_terms: QuantileTerms | DiscreteTimeTerms | CoxTerms | None = None
    expected: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    beside: tuple[Variable, ...] = ()
    rivals: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class StudySite:
    """One hospital of a named study.

    Args:
        site: Its identifier.
        source: Where its records are read.
        public_patients: Publicly known number of its eligible patients.
        group: With which sites it is reported together, such as a region; empty: alone.
    """

    site: str
    source: RecordSource
    public_patients: int
    group: str = ""


@dataclass(frozen=True)
class PreparedStudy:
    """A named study whose sites can be read.

    Args:
        definition: What the study is.
        sites: Its hospitals, in a fixed order.
        ready: For a recipe that brings its own split and scaling: the divided patients of every site, in the order of ``sites``.
            Empty otherwise: patients are then selected, encoded and divided by their site.
        ready_pooled: The same patients in the same order and division as ``ready``, encoded as the recipe encodes them for
            training and testing on all patients together. Empty if that makes no difference.
    """

    definition: StudyDefinition
    sites: tuple[StudySite, ...]
    ready: tuple[SiteData, ...] = ()
    ready_pooled: tuple[SiteData, ...] = ()


def read_contract(path: Path) -> DataContract:
    """Read a data contract from a YAML file.

    Raises:
        ConfigurationError: If the file is not there or is not YAML.
        ManifestError: If it is not a data contract; names each path, the value found there and the fix.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as failure:
        raise ConfigurationError(
            f"expected a data contract in YAML at {path}, got {type(failure).__name__}",
            remedy="give the path of a readable UTF-8 YAML file",
        ) from failure
    return DataContract.from_data(data, error=ManifestError)


def find_data(data: Path | None, *, study: str, files: tuple[str, ...]) -> tuple[Path, ...]:
    """The study's original files in the folder ``COHORTIUM_DATA``.

    Args:
        data: The folder, or ``None`` if the operator named none.
        study: For the message.
        files: Paths relative to the folder.

    Returns:
        The absolute paths, in the given order.

    Raises:
        RecordsUnreadableError: If the folder is unknown or a file is not there.
    """
    if data is None:
        raise RecordsUnreadableError(
            f"expected the folder with {', '.join(files)} for study {study}, got no COHORTIUM_DATA",
            remedy=f"set COHORTIUM_DATA to the folder that holds the files (see experiments/studies/{study}/README.md)",
        )
    paths = tuple((data / name).resolve() for name in files)
    absent = [name for name, path in zip(files, paths, strict=True) if not path.is_file()]
    if absent:
        raise RecordsUnreadableError(
            f"expected {', '.join(absent)} for study {study} in COHORTIUM_DATA={data}, got no such file",
            remedy=f"download it as experiments/studies/{study}/README.md says, or correct COHORTIUM_DATA",
        )
    return paths
