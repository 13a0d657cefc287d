"""Exact statistics of a launched study in its report, and in its release as part of what the lead signs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from aggregator.host.study_files import write_study_files
from aggregator.host.study_place import StudyPlace
from aggregator.release.bundle import make_release
from aggregator.release.finished_study import read_finished
from aggregator.report.content import StudyReport
from experiments.main import run as command
from federation.errors import CohortiumError, ReleaseRefusedError
from federation.governance.release_files import REQUIRED, statistics_file
from federation.governance.releases import RELEASE_FILE, Release, SignedRelease, open_release, sign_release
from federation.protocol.signatures import SigningKey
from tests.aggregator.host.launched_study import LEAD, proposal_of
from tests.aggregator.release.finished_run import NOW
from tests.aggregator.report.test_html import Page
from tests.masked_study import Lossy, run
from tests.statistics_study import agents, statistics_manifest

NAMES = ("ages", "wards", "deaths", "curves", "narrow")
COORDINATOR = SigningKey.from_bytes(b"\x08" * 32)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a launched study that is over; the last analysis is of too few patients."""
    folder = tmp_path_factory.mktemp("finished")
    data = statistics_manifest(folder, *NAMES[:-1]).as_data()
    narrow = data["statistics"]["analyses"][1] | {"name": "narrow"}
    few = {"variable": "age", "operator": "lt", "value": 20.1}
    data["statistics"]["analyses"].append(narrow | {"selection": narrow["selection"] | {"where": [few]}})
    study = type(statistics_manifest(folder, "wards")).from_data(data)
    result = run(study, folder, Lossy(agents(folder, study)))
    place = StudyPlace(folder / "place")
    proposal = proposal_of(study, coordinator=COORDINATOR.public_key).proposal
    write_study_files(place, proposal, result, now=NOW)
    return place.folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "study")
    return tmp_path / "study"


def released(study: Path, output: Path, **how: bool) -> Path:
    make_release(read_finished(study, **how), output, lead=LEAD, now=NOW)
    return output


def test_the_report_shows_every_analysis_with_tables_and_figures(finished: Path) -> None:
    report = StudyReport.from_json((finished / "report.json").read_bytes())
    assert [entry.name for entry in report.statistics] == list(NAMES)
    text = (finished / "report.html").read_text()
    page = Page(text)
    assert "Exact statistics" in page.words
    assert "400 patients at 4 sites" in page.words
    deaths = json.loads((finished / "statistics" / "deaths.json").read_text())["result"]
    table = next(table for table in deaths["tables"] if table["name"] == "coefficients")
    age = dict(zip(table["columns"], next(row for row in table["rows"] if row[0] == "age"), strict=True))
    assert f"{age['estimate']:.4g}" in page.words
    titles = {dict(attributes).get("id") for tag, attributes in page.tags if tag == "title"}
    assert {"statistics-deaths-title", "statistics-curves-title"} <= titles
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "two figures share an id"
    assert (finished / "figures" / "deaths.svg").exists() is False, "they are files of their own already"
    assert (finished / "statistics" / "deaths.svg").is_file()


def test_an_analysis_without_a_result_says_why_in_the_report(finished: Path) -> None:
    narrow = StudyReport.from_json((finished / "report.json").read_bytes()).statistics[-1]
    assert narrow.kind == ""
    assert narrow.reason
    assert f"No result: {narrow.reason}" in Page((finished / "report.html").read_text()).words


def test_a_release_has_the_statistics_and_its_card_names_them(study: Path, tmp_path: Path) -> None:
    folder = released(study, tmp_path / "release")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {*REQUIRED, RELEASE_FILE, *map(statistics_file, NAMES)}
    opened = open_release(folder, lead=LEAD.public_key)
    assert [analysis.name for analysis in opened.analyses] == list(NAMES)
    assert opened.contents["statistics/wards.json"] == (study / "statistics" / "wards.json").read_bytes()
    card = opened.contents["model_card.md"].decode()
    assert "| `wards` | crosstab | `statistics/wards.json`: 400 patients, 4 sites |" in card
    assert "| `narrow` | crosstab | no result: " in card


def test_statistics_can_be_kept_for_the_consortium(study: Path, tmp_path: Path) -> None:
    folder = released(study, tmp_path / "release", with_statistics=False)
    assert open_release(folder, lead=LEAD.public_key).analyses == ()
    assert not (folder / "statistics").exists()
    assert "| `wards` | crosstab | not part of this release |" in (folder / "model_card.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_or_removed_analysis_is_refused_by_name(study: Path, tmp_path: Path, name: str) -> None:
    path = released(study, tmp_path / "release") / statistics_file(name)
    content = path.read_bytes()
    for other in (content + b"\n", content[:-2], content.replace(b"a", b"b", 1), b""):
        path.write_bytes(other)
        with pytest.raises(ReleaseRefusedError, match=f"statistics/{name}|{name}.json"):
            open_release(tmp_path / "release", lead=LEAD.public_key)
    path.unlink()
    with pytest.raises(ReleaseRefusedError, match=f"{name}.json"):
        open_release(tmp_path / "release", lead=LEAD.public_key)


def test_a_folder_that_is_a_link_is_refused(study: Path, tmp_path: Path) -> None:
    folder = released(study, tmp_path / "release")
    (folder / "statistics").rename(tmp_path / "elsewhere")
    (folder / "statistics").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReleaseRefusedError, match="link"):
        open_release(folder, lead=LEAD.public_key)


@pytest.mark.parametrize("name", ["statistics/../../key.json", "statistics/Wards.json", "/etc/passwd", "other.json"])
def test_other_files_cannot_be_named(study: Path, tmp_path: Path, name: str) -> None:
    folder = released(study, tmp_path / "release")
    record = json.loads((folder / RELEASE_FILE).read_text())
    record["release"]["files"][name] = "0" * 64
    (folder / RELEASE_FILE).write_text(json.dumps(record))
    with pytest.raises(ReleaseRefusedError):
        open_release(folder, lead=LEAD.public_key)


def test_an_analysis_that_the_manifest_does_not_name_is_no_part_of_a_release(study: Path, tmp_path: Path) -> None:
    """Also not if the lead signs it."""
    folder = released(study, tmp_path / "release")
    record = SignedRelease.from_json((folder / RELEASE_FILE).read_bytes())
    files = dict(record.release.files)
    files["statistics/more.json"] = files["statistics/wards.json"]
    shutil.copy(folder / "statistics" / "wards.json", folder / "statistics" / "more.json")
    forged = Release.from_data(record.release.as_data() | {"files": files})
    (folder / RELEASE_FILE).write_text(sign_release(forged, LEAD).model_dump_json())
    with pytest.raises(ReleaseRefusedError, match="no analysis of the manifest"):
        open_release(folder, lead=LEAD.public_key)


def test_a_study_that_lacks_an_analysis_is_not_released(study: Path, tmp_path: Path) -> None:
    path = study / "statistics" / "wards.json"
    path.write_bytes((study / "statistics" / "ages.json").read_bytes())
    with pytest.raises(ReleaseRefusedError, match="holds another analysis"):
        read_finished(study)
    path.write_text("{}")
    with pytest.raises(CohortiumError):
        read_finished(study)
    path.unlink()
    with pytest.raises(ReleaseRefusedError, match=r"wards\.json"):
        read_finished(study)


def test_the_commands_say_which_statistics_there_are(study: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "LEAD.key").write_bytes(b"\x07" * 32)
    home = ["--home", str(tmp_path / "no-host")]
    output = ["-o", str(tmp_path / "release")]
    assert command(["study", "release", str(study), "--key", str(tmp_path / "LEAD.key"), *output, *home]) == 0
    assert "exact statistics: ages, wards, deaths, curves, narrow" in capsys.readouterr().out
    lead = ["--lead", LEAD.public_key]
    assert command(["study", "verify-release", str(tmp_path / "release"), *lead, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"] == list(NAMES)
    output = ["-o", str(tmp_path / "model-only"), "--no-statistics", "--json"]
    assert command(["study", "release", str(study), "--key", str(tmp_path / "LEAD.key"), *output, *home]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"] == []
