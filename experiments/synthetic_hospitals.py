"""Hospitals drawn from any data contract, with a known true model and controlled differences between them.

A patient's columns are cut from correlated normal latents with the contract's own ranges and levels; the outcome follows a linear
model of the *encoded* features, so a model trained on the study can be compared with the truth coefficient by coefficient.

Axis names: R records, P patients, F encoded features, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import ndtr

from experiments.partition import size_shares, whole_sizes
from experiments.synthetic_outcomes import draw_outcomes
from experiments.true_model import DEPARTURE, TrueModel, depart, draw_truth
from federation.data.contract import (
    Binary,
    Categorical,
    Continuous,
    DataContract,
    ForbidMissing,
    IndexDate,
    Integer,
    Ordinal,
    Variable,
)
from federation.data.encoding import encode_features, feature_names, num_outputs
from federation.documents import Document
from federation.errors import ConfigurationError
from federation.identifiers import TaskKind
from federation.privacy.randomness import RandomStreams
from site_client.patients import Records

FloatArray = NDArray[np.float64]

_LOADING: Final = 0.4
"""Correlation of every variable with one common factor of severity (with random sign)."""
_PATIENT_SHARE: Final = 0.7
"""Share of the latent variance that records of one patient have in common."""
_RANGE_SPREAD: Final = 0.4
"""Standard deviation of a number without a public reference, in half widths of its plausible range."""


class HospitalSettings(Document):
    """How many hospitals and patients to draw, and how different they are."""

    num_sites: Annotated[int, Field(ge=1, le=1000)] = 5
    patients_per_site: Annotated[int, Field(ge=2, le=10_000_000)] = 200
    """Mean over hospitals."""
    size_skew: Annotated[float, Field(ge=0, le=5)] = 0.5
    """Exponent of the power law of hospital sizes; 0 for equal ones."""
    max_records_per_patient: Annotated[int, Field(ge=1, le=1000)] = 1
    """A patient has 1 to this many records, each number equally likely."""
    heterogeneity: Annotated[float, Field(ge=0, le=10)] = 0.5
    """0: same distribution and same truth everywhere; 1: latent means and coefficients depart by half their spread."""
    missing_fraction: Annotated[float, Field(ge=0, lt=0.9)] = 0.05
    """Values missing completely at random, for variables whose missing rule is not ``forbid``."""
    signal: Annotated[float, Field(gt=0, le=20)] = 1.5
    """Standard deviation over records of the linear predictor (of each class); of the scaled outcome, in units of 0.2."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Expected share of positive outcomes under the common truth (binary task)."""
    residual: Annotated[float, Field(ge=0, le=2)] = 0.15
    """Regression: standard deviation of the scaled outcome around its prediction."""


def draw_hospitals(
    contract: DataContract, *, task: TaskKind, settings: HospitalSettings, streams: RandomStreams
) -> tuple[tuple[Records, ...], TrueModel]:
    """Draw the patients of every hospital, and the truth they follow.

    Args:
        contract: Any data contract whose outcome fits the task.
        task: Kind of outcome.
        settings: Sizes and differences.
        streams: Source of randomness; each hospital has its own stream.

    Returns:
        One ``Records`` per hospital, ``hospital-01`` (the largest) first, and the true model.

    Raises:
        ConfigurationError: If the outcome does not fit the task, or the signal has no variable to act on.
    """
    _check_task(contract, task)
    sizes = whole_sizes(
        settings.num_sites * settings.patients_per_site,
        shares=size_shares(settings.num_sites, skew=settings.size_skew),
        minimum=2,
    )
    signs = np.where(streams.stream("signs").random(len(contract.variables)) < 0.5, -1.0, 1.0)  # noqa: PLR2004
    sites = [f"hospital-{index + 1:02d}" for index in range(settings.num_sites)]
    complete = [
        draw_covariates(contract, site=site, num_patients=int(size), settings=settings, signs=signs, streams=streams)
        for site, size in zip(sites, sizes, strict=True)
    ]
    features = [encode_features(contract, records.values).astype(np.float64) for records in complete]
    common = draw_truth(
        np.concatenate(features),
        task=task,
        num_outputs=num_outputs(contract, "multiclass") if task == "multiclass" else 1,
        signal=settings.signal,
        prevalence=settings.prevalence,
        generator=streams.stream("coefficients"),
    )
    truths = {
        site: depart(common, heterogeneity=settings.heterogeneity, generator=streams.stream("truth", site))
        for site in sites
    }
    model = TrueModel(
        task=task,
        contract=contract.digest,
        feature_names=feature_names(contract),
        common=common,
        sites=truths,
        residual=settings.residual if task in {"regression", "quantile"} else 0.0,
    )
    hospitals = tuple(
        _finish(
            contract,
            records,
            predictor=truths[records.site].predict(encoded),
            model=model,
            settings=settings,
            streams=streams,
        )
        for records, encoded in zip(complete, features, strict=True)
    )
    return hospitals, model


def _check_task(contract: DataContract, task: TaskKind) -> None:
    kinds = {
        "binary": ("binary",),
        "multiclass": ("categorical", "ordinal"),
        "regression": ("continuous", "integer"),
        "count": ("integer",),
        "quantile": ("continuous", "integer"),
        "survival": ("time_to_event",),
    }[task]
    if contract.outcome.kind not in kinds:
        raise ConfigurationError(
            f"expected an outcome of kind {' or '.join(kinds)} for task {task}, "
            f"got {contract.outcome.name} of kind {contract.outcome.kind}",
            remedy="choose the task that fits the contract's outcome, or another contract",
        )


def draw_covariates(
    contract: DataContract,
    *,
    site: str,
    num_patients: int,
    settings: HospitalSettings,
    signs: FloatArray,
    streams: RandomStreams,
) -> Records:
    """Complete columns of one hospital, without outcome."""
    generator = streams.stream("covariates", site)
    numbers = generator.integers(1, settings.max_records_per_patient + 1, size=num_patients)
    patient = np.repeat(np.arange(num_patients), numbers)
    severity = _latent(patient, num_patients=num_patients, generator=generator)
    shifts = DEPARTURE * settings.heterogeneity * streams.stream("shift", site).standard_normal(len(signs))
    values: dict[str, FloatArray] = {}
    for variable, sign, shift in zip(contract.variables, signs, shifts, strict=True):
        own = _latent(patient, num_patients=num_patients, generator=generator)
        latent = shift + _LOADING * sign * severity + np.sqrt(1 - _LOADING**2) * own
        values[variable.name] = _column(variable, latent)
    return Records(
        site=site,
        patient_keys=np.array([f"{site}-{index:07d}" for index in patient], dtype=np.str_),
        values=values,
        index_dates=_dates(contract.index_date, num_records=len(patient), generator=generator),
    )


def _latent(patient: NDArray[np.int64], *, num_patients: int, generator: np.random.Generator) -> FloatArray:
    """Standard normal ``[R]``, correlated within a patient."""
    shared = generator.standard_normal(num_patients)[patient]
    own = generator.standard_normal(len(patient))
    return np.sqrt(_PATIENT_SHARE) * shared + np.sqrt(1 - _PATIENT_SHARE) * own


def _column(variable: Variable, latent: FloatArray) -> FloatArray:
    """Values of one variable, cut from its latent."""
    match variable:
        case Continuous() | Integer():
            low, high = variable.minimum, variable.maximum
            middle, spread = (low + high) / 2, _RANGE_SPREAD * (high - low) / 2
            if variable.reference is not None:
                middle, spread = variable.reference.mean, variable.reference.standard_deviation
            numbers = np.clip(middle + spread * latent, low, high)
            return np.rint(numbers) if isinstance(variable, Integer) else numbers
        case Binary():
            return (latent > 0.5).astype(np.float64)  # noqa: PLR2004 - 31 % without a shift
        case Categorical() | Ordinal():
            count = len(variable.levels)
            return np.minimum(np.floor(ndtr(latent) * count), count - 1)


def _dates(
    index_date: IndexDate | None, *, num_records: int, generator: np.random.Generator
) -> NDArray[np.datetime64] | None:
    if index_date is None:
        return None
    first = np.datetime64(index_date.earliest, "D")
    # Without a latest date the window is open to the day of extraction, which no synthetic hospital knows: one year.
    days = 365 if index_date.latest is None else (index_date.latest - index_date.earliest).days
    return first + generator.integers(0, days + 1, size=num_records).astype("timedelta64[D]")


def _finish(
    contract: DataContract,
    records: Records,
    *,
    predictor: FloatArray,
    model: TrueModel,
    settings: HospitalSettings,
    streams: RandomStreams,
) -> Records:
    """Add outcomes, then let values go missing."""
    generator = streams.stream("outcomes", records.site)
    outcomes = draw_outcomes(contract, predictor, model=model, generator=generator)
    values = _with_missing(contract, records.values, site=records.site, settings=settings, streams=streams)
    return Records(
        site=records.site,
        patient_keys=records.patient_keys,
        values={**values, **outcomes},
        index_dates=records.index_dates,
    )


def _with_missing(
    contract: DataContract,
    values: Mapping[str, FloatArray],
    *,
    site: str,
    settings: HospitalSettings,
    streams: RandomStreams,
) -> dict[str, FloatArray]:
    generator = streams.stream("missing", site)
    gaps: dict[str, FloatArray] = {}
    for variable in contract.variables:
        fraction = settings.missing_fraction * (1 + DEPARTURE * settings.heterogeneity * generator.uniform(-1, 1))
        absent = generator.random(len(values[variable.name])) < np.clip(fraction, 0, 0.9)
        forbidden = isinstance(variable.missing, ForbidMissing)
        gaps[variable.name] = values[variable.name] if forbidden else np.where(absent, np.nan, values[variable.name])
    return gaps
