"""The commands of docs/genotypes.md, typed in their order."""

from __future__ import annotations

import csv
import os
import shlex
from pathlib import Path

import pytest

from experiments.genotypes.settings import read_gwas_settings
from experiments.main import run
from tests.architecture.fenced_commands import typed
from tests.architecture.source_tree import ROOT
from tests.genotype_bench import load

COMMANDS = [command for _, command in typed(ROOT / "docs" / "genotypes.md")]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guide_has_known_settings(command: str) -> None:
    words = [word for word in shlex.split(command)[2:] if "=" in word]
    settings, rest = read_gwas_settings(words)
    assert rest == ["study=gwas_hapmap3"]
    assert settings.aggregation == "masked"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not (Path(os.environ.get("COHORTIUM_DATA", "/none")) / "genotypes").is_dir(),
    reason="COHORTIUM_DATA has no genotypes",
)
def test_the_commands_of_the_guide_work_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        assert run(shlex.split(command)[1:]) == 0, command
    assert (tmp_path / "scan" / "manhattan.svg").stat().st_size > 10_000
    study = load(tmp_path / "again", "study=gwas_hapmap3", data=Path(os.environ["COHORTIUM_DATA"]))
    hits = set(study.listed.names[study.traits.hits].tolist())
    with (tmp_path / "scan" / "association.tsv").open(newline="") as stream:
        found = {row["variant"] for row in csv.DictReader(stream, delimiter="\t") if float(row["p"]) < 5e-8}
    assert found == hits, "what the page says"
    with (tmp_path / "discovery" / "weights.tsv").open(newline="") as stream:
        assert {row["variant"] for row in csv.DictReader(stream, delimiter="\t")} == hits
