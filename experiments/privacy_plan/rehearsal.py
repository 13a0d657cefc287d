"""Patients drawn from a data contract alone, so that a study can be rehearsed before a record is read.

Ranges, levels, public references and missing rules come from the contract; everything else (how often the outcome occurs,
how strongly the variables tell) is an assumption in :data:`ASSUMPTIONS`. The outcome follows a linear model of the encoded
variables whose coefficients come from a public seed, the same at every site. Records then take the ordinary road through
selection, division and encoding: what would fail there with real records fails here first.

Axis names: R records, P patients.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from experiments.synthetic_hospitals import (
    HospitalSettings,
    draw_covariates,
    draw_hospitals,
)
from experiments.synthetic_outcomes import draw_outcomes
from experiments.true_model import TrueModel, depart
from federation.data.contract import DataContract, ForbidMissing, Variable
from federation.data.encoding import encode_features
from federation.errors import InvalidInputError, ManifestError
from federation.identifiers import TaskKind
from federation.privacy.randomness import RandomStreams, public_streams
from federation.study.manifest import StudyManifest
from site_client.division import divide
from site_client.extraction import ExtractionResult, extract
from site_client.patients import FloatArray, Records
from site_client.selection import select

ASSUMPTIONS: Final = HospitalSettings(
    num_sites=1,
    patients_per_site=2000,
    size_skew=0.0,
    max_records_per_patient=1,
    heterogeneity=0.0,
    missing_fraction=0.05,
    signal=1.5,
    prevalence=0.3,
)
"""What no contract says. The number of patients is that of the population in which the truth is set, not of a site."""
MOST_RECORDS: Final = 5
"""A generated patient has at most this many records, whatever the cohort's cap allows."""
_SMALLEST_ELIGIBLE_SHARE: Final = 1 / 500
_LIMITS: Final = 5.0
"""Standard deviations between the missing values drawn and those at which readiness fails."""


@dataclass(frozen=True)
class GeneratedSource:
    """A record source of generated patients."""

    records: Records = field(repr=False)

    def read(self, contract: DataContract, *, today: dt.date) -> Records:
        """Every record; nothing generated is dated in the future."""
        del contract, today
        return self.records


def rehearsal_streams(seed: int) -> RandomStreams:
    """The public streams of one repetition of a rehearsal."""
    return public_streams("rehearsal", seed)


def synthetic_site(
    contract: DataContract,
    task: TaskKind,
    *,
    site: str,
    num_patients: int,
    streams: RandomStreams,
    settings: HospitalSettings = ASSUMPTIONS,
) -> Records:
    """Generate the records of one site. No record of anybody is read.

    A site's records depend on the contract, the streams and its own name only, so each site can generate its own.

    Args:
        contract: Any data contract whose outcome fits the task.
        task: Kind of outcome.
        site: Its identifier.
        num_patients: P, at least 1; before the cohort's criteria.
        streams: The same at every site: they set the truth; each site has a stream of its own beneath.
        settings: What the contract does not say.

    Returns:
        Records in the contract's terms, outcomes and missing values included; patients sort in the order of drawing.

    Raises:
        InvalidInputError: If there is to be no patient.
        ConfigurationError: If the outcome does not fit the task.
    """
    if num_patients < 1:
        raise InvalidInputError(f"expected at least 1 patient at site {site}, got {num_patients}")
    model = _truth(contract, task, settings=settings, streams=streams)
    signs = np.where(streams.stream("signs").random(len(contract.variables)) < 0.5, -1.0, 1.0)  # noqa: PLR2004
    complete = draw_covariates(
        contract, site=site, num_patients=num_patients, settings=settings, signs=signs, streams=streams
    )
    own = depart(model.common, heterogeneity=settings.heterogeneity, generator=streams.stream("truth", site))
    predictor = own.predict(encode_features(contract, complete.values))
    outcomes = draw_outcomes(contract, predictor, model=model, generator=streams.stream("outcomes", site))
    generator = streams.stream("missing", site)
    values = {
        variable.name: _with_gaps(variable, complete.values[variable.name], settings=settings, generator=generator)
        for variable in contract.variables
    }
    return Records(
        site=site,
        patient_keys=complete.patient_keys,
        values={**values, **outcomes},
        index_dates=complete.index_dates,
    )


def _truth(contract: DataContract, task: TaskKind, *, settings: HospitalSettings, streams: RandomStreams) -> TrueModel:
    """The common truth: set in a population that every site draws alike."""
    population = settings.model_copy(update={"num_sites": 1, "missing_fraction": 0.0, "heterogeneity": 0.0})
    return draw_hospitals(contract, task=task, settings=population, streams=streams)[1]


def _with_gaps(
    variable: Variable, column: FloatArray, *, settings: HospitalSettings, generator: np.random.Generator
) -> FloatArray:
    """Values missing completely at random, so few that a site of this size passes the contract's own limit."""
    uniform = generator.random(len(column))
    if isinstance(variable.missing, ForbidMissing):
        return column
    limit = variable.maximum_missing_fraction
    fraction = min(settings.missing_fraction, limit - _LIMITS * math.sqrt(limit * (1 - limit) / len(column)))
    return np.where(uniform < fraction, np.nan, column)


def rehearsal_site(
    manifest: StudyManifest, site: str, *, streams: RandomStreams, settings: HospitalSettings = ASSUMPTIONS
) -> ExtractionResult:
    """Generate a site's patients and extract them as the site would.

    Patients are drawn until as many training patients as the site declared meet the cohort definition; the held-out ones come
    on top.

    Args:
        manifest: The study.
        site: A site of its roster.
        streams: From :func:`rehearsal_streams`.
        settings: What the contract does not say; the number of records follows the cohort definition.

    Returns:
        Encoded patients with the declared number of training patients, readiness report and attrition table.

    Raises:
        ManifestError: If hardly any generated patient meets the cohort definition, or the site is not in the roster.
        RecordsError: If generated records are not ready for the study, such as a site below the cohort's smallest size.
    """
    cohort = manifest.cohort
    several = min(cohort.max_records_per_patient, MOST_RECORDS)
    settings = settings.model_copy(update={"max_records_per_patient": several})
    return extract(
        GeneratedSource(_admitted(manifest, site, streams=streams, settings=settings)),
        site=site,
        contract=manifest.contract,
        definition=cohort,
        task=manifest.task,
        preprocessing=manifest.preprocessing,
        today=dt.date.max,
    )


def _admitted(manifest: StudyManifest, site: str, *, streams: RandomStreams, settings: HospitalSettings) -> Records:
    """The first patients of a site, until enough of them can be trained on and one is held out."""
    needed = manifest.entry(site).training_patients
    drawn = math.ceil(needed / (1 - manifest.cohort.test_fraction)) + 50
    while True:
        records = synthetic_site(
            manifest.contract, manifest.task, site=site, num_patients=drawn, streams=streams, settings=settings
        )
        admitted = _first(records, manifest, needed=needed)
        if admitted is not None:
            return admitted
        if drawn * _SMALLEST_ELIGIBLE_SHARE > needed + 10:
            raise ManifestError(
                f"expected {needed} training patients of site {site} that meet the cohort definition, got fewer among "
                f"{drawn} generated patients",
                remedy="see whether inclusion, exclusion and the contract's ranges leave anybody; the rehearsal knows "
                "no more of the patients than the contract says",
            )
        drawn *= 2


def _first(records: Records, manifest: StudyManifest, *, needed: int) -> Records | None:
    """The shortest beginning of the records with ``needed`` training patients and a test patient; ``None`` if none has."""
    cohort = select(records, contract=manifest.contract, definition=manifest.cohort)
    training, test = divide(cohort.records, definition=manifest.cohort)
    trained, tested = np.unique(training.patient_keys), np.unique(test.patient_keys)
    if len(trained) < needed or not len(tested):
        return None
    last = max(str(trained[needed - 1]), str(tested[0]))
    surplus = np.isin(records.patient_keys, trained[needed:])
    return records.rows((records.patient_keys <= last) & ~surplus)
