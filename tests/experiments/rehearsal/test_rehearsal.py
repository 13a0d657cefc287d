"""A rehearsal: its terminals tell what failed, its records are what hospitals have, and it removes nothing but a rehearsal."""

import sys
from pathlib import Path

import pytest
from rich.console import Console

from experiments.rehearsal.__main__ import check_replaceable
from experiments.rehearsal.consortium import DESKS, Rehearsal
from experiments.rehearsal.records import synthetic
from experiments.rehearsal.terminal import Terminal, wait_for
from federation.errors import ConfigurationError, StudyError
from site_client.sources.mapping import read_mapping


def _terminal(tmp_path: Path) -> Terminal:
    return Terminal("site north", tmp_path, {}, Console(quiet=True))


@pytest.mark.parametrize("made", ["new", "empty", "rehearsal"])
def test_a_folder_of_its_own_is_taken(tmp_path: Path, made: str) -> None:
    folder = tmp_path / "rehearsal"
    if made != "new":
        folder.mkdir()
    if made == "rehearsal":
        (folder / DESKS).mkdir()
    check_replaceable(folder)


@pytest.mark.parametrize("made", ["file", "thesis"])
def test_anything_else_is_left_alone(tmp_path: Path, made: str) -> None:
    folder = tmp_path / "rehearsal"
    if made == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigurationError, match="something else"):
        check_replaceable(folder)


def test_a_command_that_fails_stops_the_rehearsal_and_says_which(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"cohortium study check absent.yaml.*site north.*ended with 11") as failed:
        _terminal(tmp_path).run("study", "check", "absent.yaml")
    assert "absent.yaml" in failed.value.message
    assert _terminal(tmp_path).run("study", "check", "absent.yaml", allowed=(11,)) == ""


def test_what_was_started_is_ended(tmp_path: Path) -> None:
    terminal = _terminal(tmp_path)
    terminal._command = lambda words: [sys.executable, "-c", "import time; time.sleep(60)"]
    process = terminal.start("site", "start", log=tmp_path / "log")
    assert process.poll() is None
    assert terminal.runs
    terminal.close()
    assert process.poll() is not None
    assert not terminal.runs


def test_waiting_ends_with_what_it_waits_for() -> None:
    wait_for("now", lambda: True, seconds=0, alive=lambda: False)
    with pytest.raises(StudyError, match="expected the host within 0 s"):
        wait_for("the host", lambda: False, seconds=0, alive=lambda: True, every=0.01)
    with pytest.raises(StudyError, match="processes that it needs have ended"):
        wait_for("the host", lambda: False, seconds=60, alive=lambda: False)


def test_generated_hospitals_have_a_mapping_beside_their_records(tmp_path: Path) -> None:
    records = synthetic(tmp_path)
    assert len(records.mappings) == 3
    for site, path in records.mappings.items():
        assert read_mapping(path).site == site
        assert records.training_patients[site] >= 100
    rehearsal = Rehearsal(tmp_path / "place", records, 2, Console(quiet=True))
    assert set(rehearsal.sites) == set(records.mappings)
    assert {terminal.folder.parent for terminal in rehearsal.sites.values()} == {tmp_path / "place" / DESKS}
    assert [entry.name for entry in (tmp_path / "place").iterdir()] == [DESKS]
