"""A table far larger than the memory that reading it may use: it streams, whatever kind it is."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.site_client.small_site import ROWS

MEBIBYTE = 2**20
SIZE = 300 * MEBIBYTE
NUM_COLUMNS = 48
GROWTH_ALLOWED = 130 * MEBIBYTE
"""Under half of the file: half for DuckDB (64 MB and its overhead), the rest for the records themselves."""

# Runs by itself, so that its peak is its own. The first read is of a tiny file: libraries and caches are then paid for.
CODE = """
import datetime, json, pathlib, resource, sys
from site_client.sources.database import Resources
from site_client.sources.mapping import SiteMapping
from site_client.sources.tables import TableSource
from federation.data.contract import DataContract

mapping, contract, folders = json.loads(sys.argv[1])
resources = Resources(memory_limit="64MB")
peaks = []
for folder in folders:
    source = TableSource(SiteMapping.from_data(mapping), folder=pathlib.Path(folder), resources=resources)
    records = source.read(DataContract.from_data(contract), today=datetime.date(2024, 1, 1))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(json.dumps({"peaks": peaks, "rows": len(records), "age": float(records.values["age"].sum())}))
"""

CONTRACT = {
    "name": "large",
    "patient_key": "patient",
    "variables": [{"name": "age", "kind": "integer", "unit": "year", "minimum": 0, "maximum": 120}],
    "outcome": {"name": "died", "kind": "binary"},
}
VARIABLES = {"age": {"column": "age", "unit": "year"}, "died": {"column": "died"}}
FILLER = [f"note_{number}" for number in range(NUM_COLUMNS - 3)]
TEXT = ",".join(f"w{number:039d}" for number in range(NUM_COLUMNS - 3))


def rows(number: int):
    return ((f"p{row:08d}", str(20 + row % 70), str(row % 2)) for row in range(number))


def write_csv(folder: Path, number: int) -> None:
    with (folder / "x.csv").open("w", encoding="utf-8") as file:
        file.write(",".join(["pid", "age", "died", *FILLER]) + "\n")
        file.writelines(f"{','.join(row)},{TEXT}\n" for row in rows(number))


def write_sqlite(folder: Path, number: int) -> None:
    with sqlite3.connect(folder / "x.db") as connection:
        connection.execute(f"CREATE TABLE t ({', '.join(['pid', 'age', 'died', *FILLER])})")
        marks = ", ".join("?" * NUM_COLUMNS)
        connection.executemany(f"INSERT INTO t VALUES ({marks})", ((*row, *TEXT.split(",")) for row in rows(number)))
    connection.close()


def measured(tmp_path: Path, write, source: dict) -> tuple[dict, int]:
    """What reading a tiny and a large file takes, in a process of its own; and the size of the large one."""
    number = SIZE // len(TEXT) + 1000
    folders = []
    for name, count in (("tiny", len(ROWS)), ("large", number)):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, count)
        folders.append(str(folder))
    mapping = {"site": "large", "source": source, "patient_key": {"column": "pid"}, "variables": VARIABLES}
    result = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps([mapping, CONTRACT, folders])],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout)
    assert found["rows"] == number
    assert found["age"] == sum(20 + row % 70 for row in range(number))
    return found, (Path(folders[1]) / source["path"]).stat().st_size


SOURCES = [
    (write_csv, {"kind": "csv", "path": "x.csv"}),
    (write_csv, {"kind": "csv", "path": "x.csv", "encoding": "cp1252"}),
    (write_sqlite, {"kind": "sqlite", "path": "x.db", "table": "t"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("write", "source"), SOURCES, ids=["csv", "csv decoded by Python", "sqlite"])
def test_a_large_table_is_streamed(tmp_path, write, source):
    found, size = measured(tmp_path, write, source)
    assert size >= SIZE
    tiny, large = found["peaks"]
    assert large - tiny < GROWTH_ALLOWED, f"{(large - tiny) / MEBIBYTE:.0f} MiB for a file of {size / MEBIBYTE:.0f} MiB"
