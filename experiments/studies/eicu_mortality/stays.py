"""One row per stay in intensive care from the tables of the eICU demo, in one CSV file per site.

Columns keep their original names and codes, with the table in front (``aps_wbc``, ``result_predictediculos``): what a code means
is said in the mapping and nowhere else. A stay that APACHE IVa did not score has no variables of the first day and is left out.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from experiments.studies.definition import find_data
from federation.durable_files import write_durably
from federation.errors import RecordsUnreadableError

Sites = Literal["region", "hospital"]
Row = Mapping[str, str]

TABLES: Final = {
    "patient": "patient",
    "result": "apachePatientResult",
    "aps": "apacheApsVar",
    "pred": "apachePredVar",
    "hospital": "hospital",
}
"""Prefix of a column to the table it is from."""
FILE_NAME: Final = "stays.csv"
_LARGEST_FILE: Final = 2**27
_KEY_OF: Final = {"patient": "patientunitstayid", "hospital": "hospitalid"}
_UNRECORDED: Final = "unrecorded"
"""Site of the hospitals whose region the table does not give."""


@dataclass(frozen=True)
class SiteStays:
    """The stays of one site.

    Args:
        site: Its name: a region, or ``hospital-0073`` after the hospital with the lowest number.
        region: In which it lies.
        stays: Rows of prefixed columns.
    """

    site: str
    region: str
    stays: tuple[Row, ...] = field(repr=False)

    @property
    def patients(self) -> int:
        """Distinct patients."""
        return len({row["patient_uniquepid"] for row in self.stays})


def read_stays(data: Path | None, *, study: str, sites: Sites, minimum_patients: int) -> tuple[SiteStays, ...]:
    """Join the tables, and deal the stays out to the sites where they were.

    Args:
        data: The folder ``COHORTIUM_DATA``.
        study: For the message.
        sites: Every region is a site, or as few hospitals of a region together as have enough patients.
        minimum_patients: A region of fewer is left out.

    Returns:
        The sites by name.

    Raises:
        RecordsUnreadableError: If a table is not there, damaged or another one, or no site has enough patients.
    """
    paths = find_data(data, study=study, files=tuple(f"eicu_demo/{name}.csv.gz" for name in TABLES.values()))
    tables = {prefix: _table(path, prefix) for prefix, path in zip(TABLES, paths, strict=True)}
    regions: dict[str, list[Row]] = {}
    for stay in _joined(tables):
        regions.setdefault(stay["hospital_region"].lower() or _UNRECORDED, []).append(stay)
    dealt = [
        site
        for region, rows in sorted(regions.items())
        for site in (
            (SiteStays(site=region, region=region, stays=tuple(rows)),)
            if sites == "region"
            else _hospitals(region, rows, minimum_patients)
        )
    ]
    kept = tuple(site for site in dealt if site.patients >= minimum_patients)
    if not kept:
        most = max((site.patients for site in dealt), default=0)
        raise RecordsUnreadableError(
            f"expected sites of at least {minimum_patients} patients, got at most {most}",
            remedy="lower study.options.minimum_patients, or use study.options.sites=region",
        )
    return kept


def _hospitals(region: str, rows: Sequence[Row], minimum_patients: int) -> list[SiteStays]:
    """The hospitals of a region in the order of their numbers, put together until each site has enough patients."""
    by_hospital: dict[int, list[Row]] = {}
    for row in rows:
        by_hospital.setdefault(int(row["patient_hospitalid"]), []).append(row)
    found: list[SiteStays] = []
    waiting: list[Row] = []
    name = ""
    for number, own in sorted(by_hospital.items()):
        name = name or f"hospital-{number:04d}"
        waiting += own
        site = SiteStays(site=name, region=region, stays=tuple(waiting))
        if site.patients >= minimum_patients:
            found.append(site)
            name, waiting = "", []
    if waiting and found:
        found[-1] = replace(found[-1], stays=(*found[-1].stays, *waiting))
    elif waiting:
        found.append(SiteStays(site=name, region=region, stays=tuple(waiting)))
    return found


def write_site(site: SiteStays, *, folder: Path) -> Path:
    """Write ``<site>/stays.csv`` and return the site's folder."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(site.stays[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(site.stays)
    write_durably(folder / site.site / FILE_NAME, text.getvalue().encode())
    return folder / site.site


def _joined(tables: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Stays that are in every table, in the order of the table of patients."""
    hospitals = {row["hospital_hospitalid"]: row for row in tables["hospital"]}
    scored = {row["result_patientunitstayid"]: row for row in tables["result"] if row["result_apacheversion"] == "IVa"}
    aps, pred = ({row[f"{name}_patientunitstayid"]: row for row in tables[name]} for name in ("aps", "pred"))
    return [
        {**row, **scored[stay], **aps[stay], **pred[stay], **hospitals[row["patient_hospitalid"]]}
        for row in tables["patient"]
        if (stay := row["patient_patientunitstayid"]) in scored
        and stay in aps
        and stay in pred
        and row["patient_hospitalid"] in hospitals
    ]


def _table(path: Path, prefix: str) -> list[Row]:
    try:
        with gzip.open(path) as stream:
            content = stream.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise _not_the_table(path, f"more than {_LARGEST_FILE} bytes")
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as failure:
        raise _not_the_table(path, type(failure).__name__) from failure
    key = _KEY_OF.get(prefix, "patientunitstayid")
    if not rows or key not in rows[0]:
        raise _not_the_table(path, "no rows with its key")
    if any(None in row or None in row.values() for row in rows):
        raise _not_the_table(path, "a row of another length")
    return [{f"{prefix}_{name}": value for name, value in row.items()} for row in rows]


def _not_the_table(path: Path, got: str) -> RecordsUnreadableError:
    return RecordsUnreadableError(
        f"expected the comma-separated table of the eICU demo 2.0.1 in {path.name}, got {got}",
        remedy="download the file again; see experiments/studies/eicu_mortality/README.md",
    )
