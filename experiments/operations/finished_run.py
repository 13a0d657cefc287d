"""The test patients of a finished simulation as its sites see them: what the released model says, and what else is known.

A site reads its records again, through the same mapping, cohort definition and division as before training, together with the
variables that the study keeps beside the model's (another prediction, times). Nothing of this leaves a site but in sums.

Axis names: R records, K outputs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.settings import SimulationSettings
from experiments.studies.catalogue import PreparedStudy, load_study
from experiments.studies.definition import StudySite
from federation.data.contract import DataContract, ImputeMissing, Variable
from federation.errors import CheckpointError, ConfigurationError, InternalError, PrivacyRefusedError
from federation.study.manifest import StudyManifest, read_sealed
from federation.study.model_file import LARGEST_MODEL, StudyModel, read_model
from site_client.evaluation import predict
from site_client.extraction import divide, encode, select
from site_client.paid_preparation import prepared_dataset
from site_client.patients import Records

FloatArray = NDArray[np.float64]

_SETTINGS: Final = "settings.json"
_LARGEST_SETTINGS: Final = 2**24
_REMEDY: Final = "name the folder of a finished `cohortium simulate`"


@dataclass(frozen=True)
class FinishedRun:
    """A simulation that has ended.

    Args:
        folder: Its own.
        settings: It was started with.
        manifest: Of its first seed.
        model: That this seed released.
        study: Its sites can be read.
    """

    folder: Path
    settings: SimulationSettings
    manifest: StudyManifest
    model: StudyModel = field(repr=False)
    study: PreparedStudy

    @property
    def is_masked(self) -> bool:
        """Whether the study opened secure sums only."""
        return self.manifest.aggregation.masked is not None


@dataclass(frozen=True)
class SitePatients:
    """One site's patients. Exists in a simulation only.

    Args:
        site: Its name.
        group: With which sites it is reported.
        test: ``[R]`` held-out records in the order of ``said``, with the variables beside the model's.
        said: ``[R]`` or ``[R, K]`` of the model about ``test``.
        training: Records that the model was trained on.
    """

    site: str
    group: str
    test: Records = field(repr=False)
    said: FloatArray = field(repr=False)
    training: Records = field(repr=False)


def open_run(folder: Path, *, data: Path | None, work: Path) -> FinishedRun:
    """Open the folder of a finished simulation.

    Args:
        folder: Its own.
        data: ``COHORTIUM_DATA``.
        work: Where generated or divided hospitals are written.

    Raises:
        CheckpointError: If the folder holds no finished simulation.
        ConfigurationError: If the study brings patients that are encoded already.
        ReleaseRefusedError: If the model is not the manifest's.
    """
    settings = SimulationSettings.from_json(_read(folder / _SETTINGS, _LARGEST_SETTINGS), error=CheckpointError)
    seed = folder / f"seed-{settings.seeds[0]}"
    manifest = read_sealed(_read(seed / "manifest.json", _LARGEST_SETTINGS))
    model = read_model(_read(seed / "model.safetensors", LARGEST_MODEL), manifest)
    options = dict(settings.study.options)
    partition_seed = options.pop("partition_seed", 0)
    if not isinstance(partition_seed, int):
        raise ConfigurationError(f"expected study.options.partition_seed to be an integer, got {partition_seed!r}")
    study = load_study(settings.study.name, options=options, seed=partition_seed, folder=work, data=data)
    if study.ready:
        raise ConfigurationError(
            f"expected a study whose records can be read again, got {settings.study.name} with a recipe of its own",
            remedy="use the study's default recipe",
        )
    return FinishedRun(folder=folder, settings=settings, manifest=manifest, model=model, study=study)


def site_patients(run: FinishedRun, *, today: dt.date) -> tuple[SitePatients, ...]:
    """Every site's patients, and what the model says about those held out.

    Args:
        run: The finished simulation.
        today: Records dated later are implausible.

    Raises:
        PrivacyRefusedError: If the records are of patients and not public: a simulation holds all sites' records at once.
        RecordsError: What is wrong with a site's records.
    """
    if run.manifest.cohort.provenance == "patients":
        raise PrivacyRefusedError(
            "expected public or generated records, got provenance 'patients'",
            remedy="a report over hospitals needs their agents; this command reads a simulation",
        )
    beside = run.study.definition.beside
    contract = _with_beside(run.manifest.contract, beside)
    module = run.model.module()
    return tuple(_one_site(run, site, contract=contract, module=module, today=today) for site in run.study.sites)


def _one_site(
    run: FinishedRun, site: StudySite, *, contract: DataContract, module: object, today: dt.date
) -> SitePatients:
    from torch import nn

    from site_client.division import patient_order

    if not isinstance(module, nn.Module):
        raise InternalError("expected a network")
    manifest, cohort = run.manifest, run.manifest.cohort
    records = site.source.read(contract, today=today)
    training, test = divide(select(records, contract=contract, definition=cohort).records, definition=cohort)
    # Encoded by the manifest's contract, which does not know what stands beside it: no model sees that.
    encoded = encode(test, contract=manifest.contract, definition=cohort, task=manifest.task)
    rows, _ = patient_order(test, split_key=cohort.split_key)
    said = predict(module, prepared_dataset(encoded, run.model.prepared), task=manifest.objective)
    return SitePatients(
        site=site.site,
        group=site.group or site.site,
        test=test.rows(rows),
        said=np.asarray(said, dtype=np.float64),
        training=training,
    )


def _with_beside(contract: DataContract, beside: tuple[Variable, ...]) -> DataContract:
    """The contract with more columns, none of which excludes anybody."""
    wrong = [variable.name for variable in beside if not isinstance(variable.missing, ImputeMissing)]
    if wrong:
        raise InternalError(f"expected variables beside the model's to exclude nobody, got {wrong}")
    return contract.model_copy(update={"variables": (*contract.variables, *beside)})


def as_records(site: SitePatients, values: Mapping[str, FloatArray]) -> Records:
    """Columns about a site's test patients under the patients' own keys."""
    return Records(site=site.site, patient_keys=site.test.patient_keys, values=values)


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as failure:
        raise CheckpointError(f"expected a file {path}, got {type(failure).__name__}", remedy=_REMEDY) from failure
    if len(content) > limit:
        raise CheckpointError(f"expected at most {limit} bytes in {path}, got more", remedy=_REMEDY)
    return content
