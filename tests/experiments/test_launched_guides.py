"""What the guides on genotypes and operations say about launched studies: their commands, on a manifest of the reader's own."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import yaml

from aggregator.manifest_file import read_manifest_file
from experiments.main import run
from tests.agreed_variants import listed_variants
from tests.architecture.guide_pages import DOCS, blocks
from tests.operations_study import operations_data
from tests.statistics_study import statistics_manifest


def commands(page: str) -> list[str]:
    """Those of a lead; `launch` needs a host and is tested there."""
    found = [command for block in blocks(DOCS / page) for command in block.commands]
    return [command for command in found if command.startswith(("cohortium study add", "cohortium study rehearse"))]


def typed(page: str, data: dict, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> tuple[dict, list[str]]:
    """The report of the rehearsal at the end, and the names of the analyses that were agreed on."""
    monkeypatch.chdir(folder)
    (folder / "study.yaml").write_text(yaml.safe_dump({key: data[key] for key in data if key != "statistics"}))
    *adding, rehearsing = commands(page)
    for command in adding:
        assert run(shlex.split(command)[1:]) == 0, command
    capsys.readouterr()
    words = shlex.split(rehearsing)
    assert run([*words[1:], "--json", "--patients", "60"]) == 0
    agreed = read_manifest_file(folder / words[-1]).manifest.statistics.analyses
    return json.loads(capsys.readouterr().out), [analysis.name for analysis in agreed]


def assert_taken(report: dict, names: list[str]) -> None:
    texts = [finding["text"] for finding in report["findings"]]
    for name in names:
        assert any(text.startswith(f"statistics {name}: ") and " sums over " in text for text in texts), texts
    assert report["failure"] == ""


def test_the_guide_on_genotypes_leads_to_a_rehearsed_association_study(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "list.bim").write_bytes(listed_variants(300).to_bim())
    data = statistics_manifest(tmp_path, "wards").as_data()
    report, names = typed("genotypes.md", data, tmp_path, monkeypatch, capsys)
    assert names == ["scan"]
    assert_taken(report, names)
    assert any(
        "300 genetic variants with died, beside age, 4 components" in line for line in report["leaves_each_site"]
    )


def test_the_guide_on_operations_leads_to_rehearsed_reports(tmp_path: Path, monkeypatch, capsys) -> None:
    data = operations_data(tmp_path, "days")
    report, names = typed("operations.md", data, tmp_path, monkeypatch, capsys)
    assert names == ["risks", "call", "days", "taken"]
    assert_taken(report, names)
    said = " ".join(report["leaves_each_site"])
    for words in (
        "how well apache predicted died by ward",
        "how many with died a follow-up of the 10% with the highest apache reaches",
        "how well apache_stay predicted the days of stay",
        "occupied beds on 33 days, and as apache_stay forecast them up to 7 days ahead",
    ):
        assert words in said
