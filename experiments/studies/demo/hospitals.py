"""The five hospitals of the demo: who their patients are, and how each keeps its records.

Patients are dealt out by size and case mix; each hospital then writes a file in its own columns, units and codes, which its mapping
in ``mappings/`` turns back into the contract's terms.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from experiments.partition import case_mix
from federation.data.contract import DataContract
from federation.durable_files import write_durably
from federation.privacy.randomness import RandomStreams

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FILE_NAME: Final = "aspirates.csv"


def _as_agreed(name: str) -> str:
    return name


def _statistic_last(name: str) -> str:
    """``mean_concave_points`` to ``concave points_mean``."""
    statistic, _, quantity = name.partition("_")
    return f"{quantity.replace('_', ' ')}_{ {'error': 'se'}.get(statistic, statistic) }"


def _diameter(name: str) -> str:
    return name.replace("radius", "diameter").upper()


@dataclass(frozen=True)
class DemoHospital:
    """One hospital.

    Args:
        site: Its identifier.
        patients: Number of its patients: public.
        preferences: Log odds with which it attracts a malignant mass, and 10 um of mean nuclear radius.
        column: Contract variable to its column's name.
        factors: Quantity (``radius``) to the number by which it multiplies the contract's values.
        outcome: Column and codes of a benign and a malignant mass.
        separator: Of its file.
    """

    site: str
    patients: int
    preferences: tuple[float, float]
    column: Callable[[str], str] = _as_agreed
    factors: Mapping[str, float] | None = None
    outcome: tuple[str, str, str] = ("malignant", "0", "1")
    separator: str = ","


HOSPITALS: Final = (
    # A regional screening centre: many patients, mostly benign.
    DemoHospital("riverside", 200, (-0.6, -0.5)),
    # The columns' names and codes of a common redistribution of the records.
    DemoHospital("lakeside", 150, (0.2, 0.0), column=_statistic_last, outcome=("diagnosis", "B", "M")),
    # A cancer centre: advanced disease; image software that works in millimetres and square millimetres.
    DemoHospital(
        "hillcrest",
        105,
        (1.2, 1.5),
        factors={"radius": 1e-3, "perimeter": 1e-3, "area": 1e-6},
        outcome=("histology", "benign", "malignant"),
    ),
    # Semicolons, and diameters in place of radii.
    DemoHospital(
        "northgate", 69, (0.5, -1.0), column=_diameter, factors={"radius": 2.0}, outcome=("DX", "1", "2"), separator=";"
    ),
    # A small clinic: few patients, early disease.
    DemoHospital("seaview", 45, (-0.3, -0.5), outcome=("malignant", "no", "yes")),
)


def write_hospitals(contract: DataContract, *, folder: Path, streams: RandomStreams) -> None:
    """Deal the 569 patients out, and write ``<site>/aspirates.csv`` for every hospital.

    Args:
        contract: The demo's contract, whose variables are in the order of the published features.
        folder: Where to.
        streams: Source of randomness.
    """
    features, target = cast("tuple[FloatArray, IntArray]", load_breast_cancer(return_X_y=True))
    malignant = (target == 0).astype(np.float64)  # as scikit-learn codes it
    radius = features[:, [variable.name for variable in contract.variables].index("mean_radius")]
    sites = case_mix(
        # 15 um is the middle of the contract's range.
        np.stack([malignant, (radius - 15.0) / 10.0], axis=1),
        sizes=np.array([hospital.patients for hospital in HOSPITALS]),
        preferences=np.array([hospital.preferences for hospital in HOSPITALS]),
        generator=streams.stream("hospitals"),
    )
    for index, hospital in enumerate(HOSPITALS):
        rows = np.flatnonzero(sites == index)
        content = _local_file(
            hospital, contract=contract, keys=rows, features=features[rows], malignant=malignant[rows]
        )
        write_durably(folder / hospital.site / FILE_NAME, content)


def _local_file(
    hospital: DemoHospital,
    *,
    contract: DataContract,
    keys: NDArray[np.int64],
    features: FloatArray,
    malignant: FloatArray,
) -> bytes:
    """The hospital's file: UTF-8 text in its own columns, units and codes."""
    names = [variable.name for variable in contract.variables]
    factors = np.array([(hospital.factors or {}).get(name.partition("_")[2], 1.0) for name in names])
    outcome, benign_code, malignant_code = hospital.outcome
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=hospital.separator, lineterminator="\n")
    writer.writerow(["patient", *(hospital.column(name) for name in names), outcome])
    for key, row, positive in zip(keys.tolist(), features * factors, malignant.tolist(), strict=True):
        # Twelve digits: enough that converting back gives the published number.
        numbers = [f"{value:.12g}" for value in row.tolist()]
        writer.writerow([f"{hospital.site}-{key:03d}", *numbers, malignant_code if positive else benign_code])
    return text.getvalue().encode()
