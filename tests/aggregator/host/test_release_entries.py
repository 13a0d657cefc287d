"""Releasing, accepting, registering, withdrawing and closing on the host that ran the study are in its audit log."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aggregator.host.home_paths import HostLayout
from aggregator.host.release_entries import host_that_ran, release_entry
from aggregator.release_commands import register
from federation.errors import AuditLogDamagedError, ReleaseRefusedError, StudyError
from federation.governance.audit_log import read_log
from federation.protocol.signatures import SigningKey

NOW = dt.datetime(2031, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
STUDY = "sha256:" + "ab" * 32


def host_of(folder: Path, digest: str) -> HostLayout:
    """A host that has run a study, as far as these commands look."""
    layout = HostLayout(folder)
    study = layout.studies / digest.removeprefix("sha256:")
    study.mkdir(parents=True)
    layout.settings.write_text("{}")
    layout.coordinator_key.write_bytes(SigningKey.generate().to_bytes())
    (study / "proposal.json").write_text("{}")
    return layout


def entries(layout: HostLayout):
    return read_log(layout.audit).entries[1:]


def test_the_host_is_the_one_that_ran_the_study(tmp_path: Path) -> None:
    layout = host_of(tmp_path / "host", STUDY)
    run = layout.studies / ("ab" * 32)
    assert host_that_ran(STUDY, home=layout.folder) == layout
    assert host_that_ran(STUDY, home=tmp_path / "absent", run=run) == layout
    assert host_that_ran(STUDY, home=tmp_path / "absent", run=tmp_path) is None
    assert host_that_ran("sha256:" + "cd" * 32, home=layout.folder, run=run) is None
    with release_entry(None, "model_released", study=STUDY, now=NOW):
        pass
    assert not layout.audit.exists()


def test_what_was_done_and_what_was_refused_are_entries(tmp_path: Path) -> None:
    layout = host_of(tmp_path, STUDY)
    with release_entry(layout, "release_verified", study=STUDY, now=NOW, site="north") as hashes:
        hashes["accepted"] = "0" * 64
    with pytest.raises(ReleaseRefusedError), release_entry(layout, "model_released", study=STUDY, now=NOW):
        raise ReleaseRefusedError("no")
    done, refused = entries(layout)
    assert (done.event, done.study, done.site, done.hashes) == (
        "release_verified",
        STUDY,
        "north",
        {"accepted": "0" * 64},
    )
    assert (refused.event, refused.reason, refused.hashes) == ("release_refused", "ReleaseRefusedError", {})


def test_nothing_is_done_where_it_cannot_be_recorded(tmp_path: Path) -> None:
    layout = host_of(tmp_path, STUDY)
    layout.audit.write_text("damage\n")
    done = []
    with (
        pytest.raises((AuditLogDamagedError, StudyError)),
        release_entry(layout, "model_released", study=STUDY, now=NOW),
    ):
        done.append(True)
    assert done == []


def test_the_commands_write_them(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from aggregator.release.finished_study import read_finished
    from tests.aggregator.release.finished_run import LEAD, SITE, finished_run

    app = typer.Typer()
    register(app)
    run = finished_run(tmp_path / "run")
    digest = read_finished(run).manifest.digest
    layout = host_of(tmp_path / "host", digest)
    (tmp_path / "lead.key").write_bytes(LEAD.to_bytes())
    (tmp_path / "site.key").write_bytes(SITE.to_bytes())
    release, home = str(tmp_path / "release"), ("--home", str(layout.folder))

    def ran(*words: str) -> int:
        return CliRunner().invoke(app, list(words)).exit_code

    assert ran("release", str(run), "--key", str(tmp_path / "lead.key"), "-o", release, *home) == 0
    assert ran("release", str(run), "--key", str(tmp_path / "lead.key"), "-o", release, *home) != 0
    words = ("accept-release", release, "--key", str(tmp_path / "site.key"), "--as", "north", "--lead", LEAD.public_key)
    assert ran(*words, *home) == 0
    assert ran(*words, "--home", str(tmp_path / "elsewhere")) == 0
    found = [(entry.event, entry.site, entry.reason, sorted(entry.hashes)) for entry in entries(layout)]
    assert found == [
        ("model_released", None, None, ["release"]),
        ("release_refused", None, "ReleaseRefusedError", []),
        ("release_verified", "north", None, ["accepted"]),
    ]
    assert {entry.study for entry in entries(layout)} == {digest}
