"""What ``cohortium site data verdict`` prints may leave the site: no name, whatever the records are like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from site_client.commands import app
from tests.privacy_leaks.canaries import NAMES, found_in
from tests.site_client.small_site import CONTRACT, HEADER, MAPPING, write

Row = Callable[[int, str], str]


def _row(number: int, key: str, **changes: str) -> str:
    fields = {
        "pid": key, "date": "2021-01-01", "age": str(20 + number % 80), "chol": str(100 + number % 500), "sex": "m",
        "pain": "1", "stage": "1", "died": str(number % 2),
    } | changes  # fmt: skip
    return ",".join(f'"{fields[name]}"' for name in HEADER.split(","))


SPOILT: dict[str, Row] = {
    "names as keys": _row,
    "a name as a number": lambda number, name: _row(number, f"p{number}", chol=name if number == 17 else "200"),
    "names as numbers": lambda number, name: _row(number, f"p{number}", age=name),
    "a name as a date": lambda number, name: _row(number, name, date=name if number == 3 else "2021-01-01"),
    "names as codes": lambda number, name: _row(number, name, sex=name),
    "a name as a level": lambda number, name: _row(number, name, stage=name if number == 999 else "1"),
    "names as outcomes": lambda number, name: _row(number, name, died=name),
    "a key is missing": lambda number, name: _row(number, "" if number == 5 else name),
    "names out of range": lambda number, name: _row(number, name, age="999"),
}


def _verdict(folder: Path, *more: str) -> tuple[int, bytes]:
    (folder / "mapping.yaml").write_text(yaml.safe_dump(MAPPING), encoding="utf-8")
    (folder / "contract.yaml").write_text(yaml.safe_dump(CONTRACT), encoding="utf-8")
    files = ("--contract", str(folder / "contract.yaml"), "--mapping", str(folder / "mapping.yaml"))
    result = CliRunner().invoke(app, ["data", "verdict", *files, *more])
    told = result.output + (str(result.exception) if result.exception else "")
    if hasattr(result.exception, "as_dict"):
        told += json.dumps(result.exception.as_dict(), ensure_ascii=False)
    return result.exit_code, told.encode()


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("name", SPOILT)
def test_the_verdict_names_nobody(name: str, options: tuple[str, ...], tmp_path: Path) -> None:
    rows = [SPOILT[name](number, patient) for number, patient in enumerate(NAMES)]
    write(tmp_path, rows)
    code, told = _verdict(tmp_path, *options)
    assert (code == 0) == (name == "names as keys")
    assert found_in(told) == []
    assert found_in((tmp_path / "patients.csv").read_bytes()), "the names must have been in the records"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_an_unreadable_file_names_nobody(encoding: str, tmp_path: Path) -> None:
    kept = [name for name in NAMES if name.isascii() or encoding == "utf-16"]
    write(tmp_path, [_row(number, name + "é") for number, name in enumerate(kept)], encoding=encoding)
    _, told = _verdict(tmp_path, "--json")
    assert found_in(told) == []


def test_a_file_with_names_for_columns_names_nobody(tmp_path: Path) -> None:
    header = ",".join(f'"{name}"' for name in NAMES[:8])
    write(tmp_path, [_row(number, name) for number, name in enumerate(NAMES)], header=header)
    _, told = _verdict(tmp_path, "--json")
    assert found_in(told) == []
