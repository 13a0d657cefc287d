"""Made-up files in the names and shapes of the eICU demo."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.studies.eicu_mortality.stays import TABLES

APS = (
    "heartrate", "meanbp", "temperature", "respiratoryrate", "hematocrit", "wbc", "creatinine", "urine", "bun", "sodium",
    "albumin", "bilirubin", "glucose", "ph", "pao2", "fio2",
)  # fmt: skip


def stay(number: int, **changes: str) -> dict[str, dict[str, str]]:
    """One patient's row in every table; nothing measured but the heart rate."""
    key = str(number)
    rows = {
        "patient": {
            "patientunitstayid": key,
            "uniquepid": f"p-{number}",
            "hospitalid": str(number % 3),
            "age": "61",
            "gender": "Male",
            "unittype": "MICU",
            "unitadmitsource": "Floor",
            "unitadmittime24": "13:30:00",
            "unitdischargeoffset": "2160",
            "hospitaladmitoffset": "-1440",
            "hospitaldischargeoffset": "4320",
        },
        "result": {
            "patientunitstayid": key,
            "apacheversion": "IVa",
            "actualhospitalmortality": "EXPIRED" if number % 4 == 0 else "ALIVE",
            "predictedhospitalmortality": "-1" if number % 5 == 0 else "0.25",
            "predictediculos": "2.5",
            "predictedhospitallos": "-1",
        },
        "aps": {"patientunitstayid": key, **dict.fromkeys(APS, "-1"), "vent": "1", "intubated": "0", "dialysis": "0"},
        "pred": {
            "patientunitstayid": key,
            "admitdiagnosis": "S-CABG" if number % 2 else "SEPSISPULM",
            **dict.fromkeys(
                ("readmit", "electivesurgery", "thrombolytics", "diabetes", "immunosuppression", "lymphoma", "leukemia",
                 "metastaticcancer", "hepaticfailure", "cirrhosis"),
                "0",
            ),
        },
    }  # fmt: skip
    rows["aps"] |= {"heartrate": "130", "eyes": "4", "motor": "6", "verbal": "5"}
    for name, value in changes.items():
        table = next(table for table, row in rows.items() if name in row)
        rows[table][name] = value
    return rows


def write(folder: Path, stays: list[dict[str, dict[str, str]]]) -> Path:
    """The published files' names and shapes."""
    tables: dict[str, list[Mapping[str, str]]] = {name: [rows[name] for rows in stays] for name in stays[0]}
    regions = ("West", "South", "")
    hospitals = sorted({int(rows["patient"]["hospitalid"]) for rows in stays} | {0, 1, 2})
    tables["hospital"] = [{"hospitalid": str(n), "region": regions[n % 3]} for n in hospitals]
    (folder / "eicu_demo").mkdir(parents=True, exist_ok=True)
    for prefix, rows in tables.items():
        with gzip.open(folder / "eicu_demo" / f"{TABLES[prefix]}.csv.gz", "wt", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder


def drawn(size: int, *, hospitals: int = 3, seed: int = 1) -> list[dict[str, dict[str, str]]]:
    """Patients whose death and length of stay depend on heart rate and age, over so many hospitals."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(size):
        rate, age = rng.integers(60, 180), rng.integers(20, 90)
        risk = 1 / (1 + np.exp(4.0 - (rate - 60) / 30 - (age - 20) / 40))
        days = rng.exponential(1.0 + 3.0 * risk)
        found.append(
            stay(
                number,
                heartrate=str(rate),
                age=str(age),
                hospitalid=str(number % hospitals),
                actualhospitalmortality="EXPIRED" if rng.random() < risk else "ALIVE",
                predictedhospitalmortality="-1" if number % 40 == 0 else f"{risk:.4f}",
                unitdischargeoffset=str(int(1440 * days) + 60),
                unitadmittime24=f"{rng.integers(0, 24):02d}:00:00",
            )
        )
    return found
