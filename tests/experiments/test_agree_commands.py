"""A typed formula becomes an agreed analysis of a manifest, which the study's rehearsal then takes."""

from __future__ import annotations

import json

import pytest
import yaml

from aggregator.manifest_file import read_manifest_file
from experiments.main import run
from tests.statistics_study import statistics_manifest


@pytest.fixture
def source(tmp_path):
    study = statistics_manifest(tmp_path, "wards")
    data = {key: value for key, value in study.as_data().items() if key != "statistics"}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def add(source, name, *words, output):
    return run(["study", "add-analysis", str(source), name, *words, "-o", str(output), "--json"])


def test_analyses_are_added_one_after_another(source, tmp_path, capsys):
    first, second = tmp_path / "one.yaml", tmp_path / "two.yaml"
    assert add(source, "deaths", "analysis=glm", "formula=died ~ age + ward", output=first) == 0
    assert add(first, "ages", "analysis=describe", "variables=[age]", output=second) == 0
    assert json.loads(capsys.readouterr().out.split("}\n")[-2] + "}")["analyses"] == ["deaths", "ages"]
    study = read_manifest_file(second).manifest
    assert [each.name for each in study.statistics.analyses] == ["deaths", "ages"]
    assert "~" not in second.read_text(), "no formula is in a manifest"


def test_a_mistake_changes_nothing(source, tmp_path, capsys):
    output = tmp_path / "one.yaml"
    assert add(source, "deaths", "analysis=glm", "formula=died ~ blood", output=output) != 0
    assert add(source, "Deaths!", "analysis=glm", "formula=died ~ age", output=output) != 0
    assert add(source, "deaths", "analysis=glm", "formula=died ~ age", "study=demo", output=output) != 0
    assert not output.exists()
    assert "blood" in capsys.readouterr().out


def test_a_sealed_manifest_is_not_changed(source, tmp_path, capsys):
    sealed = tmp_path / "sealed.json"
    sealed.write_text(read_manifest_file(source).manifest.sealed())
    assert add(sealed, "deaths", "analysis=glm", "formula=died ~ age", output=tmp_path / "o.yaml") != 0
    assert "sealed" in capsys.readouterr().out


def test_a_rehearsal_takes_the_statistics_too(source, tmp_path, capsys):
    output = tmp_path / "one.yaml"
    assert add(source, "deaths", "analysis=glm", "formula=died ~ age", output=output) == 0
    capsys.readouterr()
    assert run(["study", "rehearse", str(output), "--json", "--no-unplug"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert any(finding["text"].startswith("statistics deaths: ") for finding in report["findings"])
    assert "exact statistics: deaths" in report["released"]


def test_an_association_study_is_agreed_with_its_list_and_rehearsed_on_drawn_genotypes(source, tmp_path, capsys):
    listed, output = tmp_path / "list.bim", tmp_path / "one.yaml"
    listed.write_text("".join(f"1\tvar{place}\t0\t{place + 1}\tA\tG\n" for place in range(1500)))
    words = ["analysis=gwas", f"variants={listed}", "method=logistic", "covariates=[age]", "components=1", "block=1000"]
    assert add(source, "scan", *words, output=output) == 0
    scan = read_manifest_file(output).manifest.statistics.analyses[0]
    assert (scan.kind, scan.num_variants, scan.model.outcome) == ("gwas", 1500, "died")
    capsys.readouterr()
    assert run(["study", "rehearse", str(output), "--json", "--no-unplug", "--patients", "80"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = [finding["text"] for finding in report["findings"] if finding["text"].startswith("statistics scan")]
    assert "at least 2 sums" in found[0]
    assert "sums over 4 sites" in found[1], found
    assert any("1500 genetic variants with died" in line for line in report["leaves_each_site"])


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["variants=absent.bim"],
        ["variants={list}", "method=score", "weights=w.tsv"],
        ["variants={list}", "study=gwas_hapmap3"],
        ["variants={list}", "aggregation=open"],
        ["variants={list}", "variants={list}"],
        ["variants={list}", "phenotype=blood"],
        ["variants={list}", "maff=0.1"],
    ],
)
def test_a_mistake_in_an_association_study_changes_nothing(source, tmp_path, words):
    listed = tmp_path / "list.bim"
    listed.write_text("1\tvar1\t0\t5\tA\tG\n")
    chosen = [word.format(list=listed) for word in words]
    method = [] if "method=score" in words else ["method=allelic"]
    assert add(source, "scan", "analysis=gwas", *method, *chosen, output=tmp_path / "one.yaml") != 0
    assert not (tmp_path / "one.yaml").exists()


def test_an_analysis_with_privacy_has_its_promise_in_the_manifest(source, tmp_path, capsys):
    output = tmp_path / "private.yaml"
    assert add(source, "deaths", "analysis=glm", "formula=died ~ age", "privacy.epsilon=2", output=output) == 0
    promise = read_manifest_file(output).manifest.statistics.analyses[0].privacy
    assert (promise.epsilon, promise.releases, promise.shares) == (2.0, 8, 2)
    assert promise.guarantee().epsilon <= 2.0
    capsys.readouterr()
    assert run(["study", "rehearse", str(output), "--json", "--no-unplug"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert any(finding["text"] == "statistics deaths: 8 sums over 4 sites" for finding in report["findings"])
    assert "statistics with noise: deaths" in report["released"]
