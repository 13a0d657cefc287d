"""Hospitals for tests of exact statistics: generated patients, real sites and sums, and links that lose what they are told to lose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.analyse_plans import plan
from experiments.analyse_records import AnalysedStudy
from experiments.analyse_settings import read_settings
from experiments.analyse_sites import noise_shares, open_analyst
from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.errors import TransportError
from federation.statistics import wide_sums
from federation.statistics.result import AnalysisResult
from federation.statistics.step import Columns, ResultT, Solver
from site_client.patients import Records

Values = Mapping[str, np.ndarray]
WARDS = ("medical", "surgical", "cardiac")

CONTRACT = DataContract.from_data(
    {
        "name": "statistics",
        "patient_key": "patient",
        "variables": [
            {"name": "age", "kind": "continuous", "unit": "year", "minimum": 18, "maximum": 100},
            {"name": "male", "kind": "binary"},
            {"name": "ward", "kind": "categorical", "levels": list(WARDS)},
            {"name": "lactate", "kind": "continuous", "unit": "mmol/L", "minimum": 0.1, "maximum": 30},
            {"name": "visits", "kind": "integer", "minimum": 0, "maximum": 200},
            {"name": "weeks", "kind": "continuous", "unit": "week", "minimum": 0.5, "maximum": 60},
            {"name": "cost", "kind": "continuous", "unit": "dimensionless", "minimum": 0.01, "maximum": 200000},
            {"name": "days", "kind": "integer", "unit": "day", "minimum": -50, "maximum": 300},
            {"name": "entry-day", "kind": "integer", "unit": "day", "minimum": -50, "maximum": 300},
            {"name": "event", "kind": "binary"},
        ],
        "outcome": {"name": "died", "kind": "binary"},
    }
)


def draw(size: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Patients in the contract's terms, outcomes that depend on age and ward."""
    rng = np.random.default_rng(seed)
    age, ward = rng.uniform(20, 95, size).round(1), rng.integers(0, 3, size).astype(float)
    male, lactate = (rng.random(size) < 0.55).astype(float), np.exp(rng.normal(0.5, 0.6, size)).clip(0.1, 30)
    predictor = 0.04 * (age - 60) + 0.5 * (ward == 1) - 0.4 * (ward == 2) + 0.3 * male
    weeks = rng.uniform(1, 52, size)
    times = np.ceil(rng.exponential(90 * np.exp(-predictor)))
    ends = np.ceil(rng.uniform(5, 250, size))
    days = np.minimum(times, ends)
    return {
        "age": age,
        "male": male,
        "ward": ward,
        "lactate": lactate,
        "visits": rng.poisson(weeks / 10 * np.exp(predictor / 2)).astype(float),
        "weeks": weeks,
        "cost": rng.gamma(2.0, np.exp(predictor + 5)).clip(0.01, 200000),
        "days": days,
        "entry-day": np.floor(days * rng.random(size) * 0.5),
        "event": (times <= ends).astype(float),
        "died": (rng.random(size) < 1 / (1 + np.exp(0.8 - predictor))).astype(float),
    }


def deal(size: int, sites: int, seed: int = 2) -> np.ndarray:
    """A hospital for every patient; some are larger."""
    rng = np.random.default_rng(seed)
    shares = np.arange(1, sites + 1) ** -0.5
    return rng.choice(sites, size, p=shares / shares.sum())


def parts(values: Values, codes: np.ndarray) -> list[Columns]:
    """The columns of each hospital."""
    return [
        Columns({name: column[codes == code] for name, column in values.items()}, int((codes == code).sum()))
        for code in np.unique(codes)
    ]


def solve(solver: Solver[ResultT], sites: list[Columns]) -> ResultT:
    """Run a solver over exact sums, without sites or secure sums."""
    try:
        step = next(solver)
        while True:
            words = np.sum([wide_sums.encode(step.answer(site)) for site in sites], axis=0)
            step = solver.send(step.parts(wide_sums.decode(words)))
    except StopIteration as end:
        return end.value


def study_of(
    values: Values, codes: np.ndarray, *, contract: DataContract = CONTRACT, provenance: str = "synthetic"
) -> AnalysedStudy:
    """A study whose hospitals have these patients."""
    keys = np.array([f"patient-{row:05d}" for row in range(len(codes))])
    return AnalysedStudy(
        name="bench",
        contract=contract,
        cohort=CohortDefinition.from_data({"provenance": provenance}),
        records=tuple(
            Records(
                site=f"hospital-{int(code):03d}",
                patient_keys=keys[codes == code],
                values={name: column[codes == code] for name, column in values.items()},
            )
            for code in np.unique(codes)
        ),
    )


@dataclass
class Lossy:
    """A link that is dead from some call on."""

    site: object
    is_lost: Callable[[str, int], bool]
    calls: int = 0

    def _reached(self, kind: str) -> None:
        self.calls += 1
        if self.is_lost(kind, self.calls):
            raise TransportError("expected an answer, got none")

    def open_answer(self, request):
        self._reached("open")
        return self.site.open_answer(request)

    def masked_answer(self, request, batch):
        self._reached("masked")
        return self.site.masked_answer(request, batch)

    def secure_step(self, header, payload):
        self._reached(header.kind)
        return self.site.secure_step(header, payload)


def analyse(
    study: AnalysedStudy,
    folder: Path,
    *overrides: str,
    loses: Mapping[str, Callable[[str, int], bool]] | None = None,
    sums_per_agreement: int = 8,
) -> AnalysisResult:
    """What the command computes, with sites that vanish as told. Sums are open unless an override says ``aggregation=masked``."""
    chosen = overrides if any(o.startswith("aggregation=") for o in overrides) else ("aggregation=open", *overrides)
    settings, _ = read_settings(chosen)
    work = folder / f"work-{len(list(folder.glob('work-*')))}"
    analyst, _ = open_analyst(
        study,
        threshold=settings.threshold,
        is_masked=settings.aggregation == "masked",
        memory=folder / "memory",
        work=work,
    )
    work.mkdir(parents=True, exist_ok=True)
    if settings.aggregation == "masked":
        analyst.sums.sums_per_agreement = sums_per_agreement
    for site, is_lost in (loses or {}).items():
        analyst.sums.links[site] = Lossy(analyst.sums.links[site], is_lost)
    shares = noise_shares(study, is_masked=settings.aggregation == "masked")
    return analyst.run(plan(settings, study.contract, shares=shares))


def close(found: object, expected: object, tolerance: float) -> bool:
    """Whether numbers agree, relative to the expected ones."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    return bool(found.shape == expected.shape and np.all(np.abs(found - expected) <= tolerance * np.abs(expected)))
