"""Studies for analyses alone: records with times and events, and hospitals too many or too small to train on.

``gbsg2``: German breast cancer study, 686 patients, dealt out. ``eicu``: the eICU demo by hospital. Both need ``COHORTIUM_DATA``.
``generated_survival``: drawn, with known hazard ratios.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field

from experiments.analyse_records import AnalysedStudy
from experiments.studies.definition import find_data, read_contract
from federation.data.cohort import CohortDefinition
from federation.data.contract import Categorical, DataContract
from federation.documents import Document
from federation.errors import ConfigurationError, RecordsUnreadableError
from federation.privacy.randomness import seeded_streams
from site_client.patients import Records

FloatArray = NDArray[np.float64]
Rows = list[dict[str, str]]

NAMES: Final = ("eicu", "gbsg2", "generated_survival")
_CONTRACTS: Final = Path(__file__).parent / "analyse_contracts"
_LARGEST_FILE: Final = 2**27
_MINUTES_PER_DAY: Final = 1440.0
_OLDEST: Final = 90.0
"""The eICU database writes "> 89" for the oldest patients."""
_HAZARDS: Final = {"age": 0.03, "stage[middle]": 0.5, "stage[late]": 1.0, "treated": -0.6}
"""Log hazard ratios of ``generated_survival``."""


class DealtOut(Document):
    """How one public cohort becomes several hospitals."""

    num_sites: Annotated[int, Field(ge=1, le=1000)] = 8
    partition_seed: Annotated[int, Field(ge=0)] = 0
    patients_per_site: Annotated[int, Field(ge=2, le=1_000_000)] = 100
    """Of generated hospitals."""


def is_analysis_study(overrides: Sequence[str]) -> bool:
    """Whether the chosen study is one of :data:`NAMES`."""
    return _choice(overrides) in NAMES


def analysis_study(overrides: Sequence[str], *, data: Path | None) -> AnalysedStudy:
    """Read or draw the records.

    Args:
        overrides: ``study=NAME`` and ``study.options.KEY=VALUE``.
        data: ``COHORTIUM_DATA``.

    Raises:
        ConfigurationError: If an option is unknown.
        RecordsUnreadableError: If a file is not there.
    """
    name = _choice(overrides)
    options: dict[str, Any] = {}
    for line in overrides:
        key, _, value = line.partition("=")
        if key == "study":
            continue
        if not key.startswith("study.options."):
            raise ConfigurationError(
                f"study={name} has no setting {key!r}", remedy="it has study.options.num_sites=..."
            )
        options[key.removeprefix("study.options.")] = yaml.safe_load(value)
    dealt = DealtOut.from_data(options, error=ConfigurationError)
    if name == "eicu":
        return eicu(data)
    return gbsg2(data, dealt) if name == "gbsg2" else generated_survival(dealt)


def gbsg2(data: Path | None, dealt: DealtOut) -> AnalysedStudy:
    """German breast cancer study (Schumacher et al. 1994), dealt out at random to hospitals of about one size."""
    (path,) = find_data(data, study="gbsg2", files=("survival/gbsg2.csv",))
    rows = _rows(path.read_bytes())
    contract = read_contract(_CONTRACTS / "gbsg2.yaml")
    columns: dict[str, FloatArray] = {
        "days": _numbers(rows, "time"),
        "recurrence": _numbers(rows, "cens"),
        "hormones": _flags(rows, "horTh", "yes"),
        "age": _numbers(rows, "age"),
        "postmenopausal": _flags(rows, "menostat", "Post"),
        "size": _numbers(rows, "tsize"),
        "grade": _codes(rows, "tgrade", contract, "grade"),
        "nodes": _numbers(rows, "pnodes"),
        "progesterone": _numbers(rows, "progrec"),
        "oestrogen": _numbers(rows, "estrec"),
    }
    keys = np.array([f"patient-{row:04d}" for row in range(len(rows))])
    return _study("gbsg2", contract, columns, keys=keys, sites=_dealt(len(rows), dealt), is_public=True)


def eicu(data: Path | None) -> AnalysedStudy:
    """The eICU demo 2.0.1 (Johnson et al. 2021): adult patients with an APACHE IVa result, by hospital."""
    files = tuple(f"eicu_demo/{name}.csv.gz" for name in ("patient", "apachePatientResult", "apachePredVar"))
    patients, results, predictors = (_rows(_unpacked(path)) for path in find_data(data, study="eicu", files=files))
    scored = {row["patientunitstayid"]: row for row in results if row["apacheversion"] == "IVa"}
    before = {row["patientunitstayid"]: row for row in predictors}
    rows = [
        {**row, **scored[stay], **{f"pred_{key}": value for key, value in before[stay].items()}}
        for row in patients
        if (stay := row["patientunitstayid"]) in scored and stay in before
    ]
    contract = read_contract(_CONTRACTS / "eicu.yaml")
    age = np.array([_OLDEST if row["age"].startswith(">") else _number(row["age"]) for row in rows])
    columns: dict[str, FloatArray] = {
        "age": age,
        "male": _flags(rows, "gender", "Male"),
        "apache": _missing_below(_numbers(rows, "apachescore"), 0),
        "unit_days": _numbers(rows, "unitdischargeoffset") / _MINUTES_PER_DAY,
        "elective": np.array([float(row["pred_electivesurgery"] == "1") for row in rows]),
        "diabetes": _flags(rows, "pred_diabetes", "1"),
        "ventilated": _flags(rows, "pred_ventday1", "1"),
        "unit": _codes(rows, "unittype", contract, "unit"),
        "died": _flags(rows, "actualhospitalmortality", "EXPIRED"),
    }
    keys = np.array([row["uniquepid"] for row in rows])
    sites = np.array([f"hospital-{row['hospitalid']}" for row in rows])
    return _study("eicu", contract, columns, keys=keys, sites=sites, is_public=True)


def generated_survival(dealt: DealtOut) -> AnalysedStudy:
    """Exponential times with the log hazard ratios of the module, censored at random, hospitals of different baseline hazard."""
    contract = read_contract(_CONTRACTS / "generated_survival.yaml")
    size = dealt.num_sites * dealt.patients_per_site
    draw = seeded_streams(dealt.partition_seed, provenance="synthetic").child("generated_survival").stream("patients")
    site = np.repeat(np.arange(dealt.num_sites), dealt.patients_per_site)
    stage = draw.choice(3, size, p=[0.5, 0.3, 0.2])
    columns: dict[str, FloatArray] = {
        "age": np.round(draw.uniform(40, 90, size), 1).astype(np.float64),
        "stage": stage.astype(np.float64),
        "treated": (draw.random(size) < 0.5).astype(np.float64),  # noqa: PLR2004
        "biomarker": np.round(np.exp(draw.normal(1.0, 0.5, size)), 2).astype(np.float64),
    }
    hazard = _HAZARDS["age"] * (columns["age"] - 65) + _HAZARDS["treated"] * columns["treated"]
    hazard += np.array([0.0, _HAZARDS["stage[middle]"], _HAZARDS["stage[late]"]])[stage]
    hazard += draw.normal(0.0, 0.3, dealt.num_sites)[site]
    times = np.ceil(draw.exponential(24.0, size) * np.exp(-hazard))
    ends = np.ceil(draw.uniform(6.0, 60.0, size))
    columns["months"] = np.minimum(np.minimum(times, ends), 120.0)
    columns["died"] = (times <= ends).astype(np.float64)
    columns["entry_month"] = np.floor(columns["months"] * draw.random(size) * 0.3)
    keys = np.array([f"patient-{row:06d}" for row in range(size)])
    sites = np.array([f"hospital-{index + 1:03d}" for index in site])
    return _study("generated_survival", contract, columns, keys=keys, sites=sites, is_public=False)


def _study(
    name: str,
    contract: DataContract,
    columns: Mapping[str, FloatArray],
    *,
    keys: NDArray[np.str_],
    sites: NDArray[np.str_],
    is_public: bool,
) -> AnalysedStudy:
    return AnalysedStudy(
        name=name,
        contract=contract,
        cohort=CohortDefinition(provenance="public" if is_public else "synthetic"),
        records=tuple(
            Records(
                site=str(site),
                patient_keys=keys[sites == site],
                values={column: values[sites == site] for column, values in columns.items()},
            )
            for site in np.unique(sites)
        ),
    )


def _dealt(size: int, dealt: DealtOut) -> NDArray[np.str_]:
    streams = seeded_streams(dealt.partition_seed, provenance="public").child("dealt_out")
    places = streams.stream("patients").permutation(np.arange(size) % dealt.num_sites)
    return np.array([f"hospital-{place + 1:03d}" for place in places])


def _choice(overrides: Sequence[str]) -> str:
    return next((line.partition("=")[2] for line in overrides if line.startswith("study=")), "")


def _unpacked(path: Path) -> bytes:
    with gzip.open(path) as stream:
        content = stream.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise RecordsUnreadableError(f"expected {path.name} of at most {_LARGEST_FILE} bytes, got more")
    return content


def _rows(content: bytes) -> Rows:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _numbers(rows: Rows, name: str) -> FloatArray:
    return np.array([_number(row[name]) for row in rows])


def _flags(rows: Rows, name: str, yes: str) -> FloatArray:
    return np.array([float("nan") if not row[name] else float(row[name] == yes) for row in rows])


def _codes(rows: Rows, name: str, contract: DataContract, variable: str) -> FloatArray:
    found = contract.variable(variable)
    levels = found.levels if isinstance(found, Categorical) else ()
    return np.array([float(levels.index(row[name])) if row[name] in levels else float("nan") for row in rows])


def _missing_below(values: FloatArray, least: float) -> FloatArray:
    return np.where(values < least, np.nan, values)
