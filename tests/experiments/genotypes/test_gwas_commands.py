"""The command `cohortium gwas`: what it writes and prints, and how it answers a wrong word."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from experiments.genotypes.commands import gwas
from experiments.genotypes.settings import read_gwas_settings
from federation.errors import ConfigurationError, InvalidInputError, RecordsUnreadableError

SMALL = ("study=generated_genotypes", "study.options.num_variants=60", "study.options.patients_per_site=80")


def command(tmp_path: Path, *arguments: str, output: str = "out") -> str:
    app = typer.Typer()
    app.command()(gwas)
    places = ["--memory", str(tmp_path / "memory"), "--output", str(tmp_path / output)]
    result = CliRunner().invoke(app, [*arguments, *places])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_tables_figures_and_result_of_a_study_under_masks(tmp_path: Path) -> None:
    output = command(tmp_path, *SMALL, "method=linear", "phenotype=trait", "components=2", "score_below=1e-3")
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    figures = {f"{name}.{kind}" for name in ("manhattan", "qq") for kind in ("svg", "png")}
    assert names == {"result.json", "command.txt", "association.tsv", "weights.tsv", *figures}
    result = json.loads((out / "result.json").read_text())
    table = next(table for table in result["tables"] if table["name"] == "association")
    with (out / "association.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert len(rows) == len(table["rows"]) == result["figures"]["variants tested"]
    assert float(rows[0]["p"]) == table["rows"][0][table["columns"].index("p")]
    assert (out / "manhattan.png").read_bytes().startswith(b"\x89PNG")
    assert "inflation" in (out / "qq.svg").read_text()
    assert "chromosome" in (out / "manhattan.svg").read_text()
    assert "strongest of" in output
    assert "loadings" not in output


def test_the_same_command_gives_the_same_bytes(tmp_path: Path) -> None:
    for output in ("one", "two"):
        command(tmp_path, *SMALL, "method=cmh", "aggregation=open", output=output)
    one, two = (sorted((tmp_path / output).iterdir()) for output in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_json_is_all_that_is_printed(tmp_path: Path) -> None:
    printed = json.loads(command(tmp_path, *SMALL, "method=allelic", "--json"))
    assert (printed["analysis"], printed["patients"], len(printed["sites"])) == ("gwas", 320, 4)


def test_a_score_is_written_by_one_command_and_evaluated_by_another(tmp_path: Path) -> None:
    asked = (*SMALL, "method=logistic", "where=discovery = 1", "aggregation=open", "score_below=0.01")
    command(tmp_path, *asked, output="discovery")
    weights = tmp_path / "discovery" / "weights.tsv"
    output = command(
        tmp_path, *SMALL, "method=score", f"weights={weights}", "where=discovery = 0", output="replication"
    )
    assert "AUROC of the score: 0." in output
    assert {path.name for path in (tmp_path / "replication").iterdir()} == {"result.json", "command.txt"}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("method=linnear",), "linear"),
        (("methods=linear",), "did you mean 'method'"),
        (("phenotype=trait",), "missing setting 'method'"),
        (("method=linear", "maf=0.7"), "maf"),
        (("method=linear", "threshold"), "KEY=VALUE"),
        (("method=allelic", "components=2"), "has no covariates or components"),
        (("method=score",), "needs weights=FILE"),
        (("method=linear", "weights=x"), "no other method has weights"),
        (("method=linear", "covariates=[age"), "cannot read"),
    ],
)
def test_a_wrong_word_is_answered(overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_gwas_settings(overrides)
    assert says in str(caught.value)


def test_small_numbers_may_be_written_as_anybody_does() -> None:
    for text in ("1e-6", "1.0e-6", "0.000001"):
        assert read_gwas_settings(("method=linear", f"hwe={text}"))[0].hwe == 1e-6


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        (("study=hapmap",), ConfigurationError, "gwas_hapmap3"),
        (("study=generated_genotypes", "study.options.hospitals=3"), ConfigurationError, "hospitals"),
        ((*SMALL, "phenotype=trait"), ConfigurationError, "fits method=logistic"),
        ((*SMALL, "covariates=[weight]"), InvalidInputError, "weight"),
        ((*SMALL, "components=20"), InvalidInputError, "three variants and patients for each"),
        ((*SMALL, "study.options.num_sites=2"), ConfigurationError, "at least 3 sites"),
    ],
)
def test_what_does_not_fit_the_study(tmp_path: Path, arguments: tuple[str, ...], kind: type, says: str) -> None:
    with pytest.raises(kind, match=says):
        command(tmp_path, *arguments, "method=logistic")


def test_hapmap_needs_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COHORTIUM_DATA", raising=False)
    with pytest.raises(RecordsUnreadableError, match="HM3_thinned"):
        command(tmp_path, "study=gwas_hapmap3", "method=allelic", "--data", str(tmp_path))
