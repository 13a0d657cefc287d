"""The agreed file that a command is about: a data contract alone, or a sealed manifest with its contract and cohort."""

from __future__ import annotations

from pathlib import Path

from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.errors import ConfigurationError, ManifestError


def agreement(contract: Path | None, manifest: Path | None) -> tuple[DataContract, CohortDefinition]:
    """The contract and the cohort of whichever file is given.

    Raises:
        ConfigurationError: If both are, or none.
        ManifestError: If it is not what it should be.
    """
    from federation.study.manifest import read_sealed

    if contract is not None and manifest is None:
        return DataContract.from_data(_read_yaml(contract)), CohortDefinition(provenance="patients")
    if manifest is not None and contract is None:
        study = read_sealed(_read(manifest))
        return study.contract, study.cohort
    raise ConfigurationError(
        "expected one of --contract and --manifest, got " + ("none" if contract is None else "both"),
        remedy="give --manifest for a study's whole cohort, or --contract to look at the variables alone",
    )


def _read_yaml(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(_read(path))
    except yaml.YAMLError as failure:
        raise ManifestError(
            f"expected a contract in YAML or JSON at {path}, got text that does not parse",
            remedy="check indentation, colons and quotes",
        ) from failure


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise ManifestError(
            f"expected a readable file in UTF-8 at {path}, got {type(failure).__name__}",
            remedy="check path, permissions and encoding",
        ) from failure
