"""Where runs may be tracked, and how to look at them."""

import shlex
import sys

import pytest

from aggregator.outbox_tracker import OutboxTracker, open_tracker
from aggregator.tracking import NullTracker, TrackingTarget, mlflow_ui_command
from federation.errors import ConfigurationError


def test_the_default_is_a_database_in_the_output_folder(tmp_path) -> None:
    target = TrackingTarget.choose("sqlite", output=tmp_path)
    assert target.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert target.uri.startswith("sqlite:////")
    assert target.database == tmp_path / "mlflow.db"
    assert target.artefacts == str(tmp_path / "mlartifacts")


def test_a_relative_output_folder_becomes_absolute(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    assert TrackingTarget.choose("sqlite", output=tmp_path.relative_to(tmp_path) / "out").database.is_absolute()


@pytest.mark.parametrize("kind", ["sqlite", "server"])
def test_another_database_is_a_database_whatever_the_kind(kind, tmp_path) -> None:
    target = TrackingTarget.choose(kind, uri=f"sqlite:///{tmp_path}/shared/all.db", output=tmp_path)
    assert (target.kind, target.database) == ("sqlite", tmp_path / "shared" / "all.db")
    assert target.artefacts == str(tmp_path / "shared" / "mlartifacts")


@pytest.mark.parametrize("kind", ["sqlite", "server"])
def test_an_address_is_a_server_whatever_the_kind(kind, tmp_path) -> None:
    target = TrackingTarget.choose(kind, uri="https://mlflow.example.org/", output=tmp_path)
    assert (target.kind, target.uri, target.artefacts) == ("server", "https://mlflow.example.org", "")


@pytest.mark.parametrize(
    ("kind", "uri", "what"),
    [
        ("server", None, "tracking.uri"),
        ("server", "ftp://host", "'ftp'"),
        ("server", "host:5000", "http://"),
        ("server", "http://", "http://"),
        ("server", "", "http://"),
        ("server", "file:///tmp/mlruns", "'file'"),
        ("server", "postgresql://host/db", "mlflow server"),
        ("sqlite", "sqlite:///mlflow.db", "four slashes"),
        ("sqlite", "sqlite://", "four slashes"),
        ("sqlite", "sqlite:////tmp/what?.db", "'?'"),
    ],
)
def test_other_addresses_are_refused(kind, uri, what, tmp_path) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        TrackingTarget.choose(kind, uri=uri, output=tmp_path)
    assert what in str(refusal.value)


def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="MLFLOW_TRACKING_PASSWORD") as refusal:
        TrackingTarget.choose("server", uri="https://ann:hunter2@host", output=tmp_path)
    assert "hunter2" not in str(refusal.value)


def test_an_experiment_has_a_name(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=r"tracking\.experiment"):
        TrackingTarget.choose("sqlite", experiment=" ", output=tmp_path)


def test_places_are_told_apart_by_address_and_experiment(tmp_path) -> None:
    chosen = [
        TrackingTarget.choose("sqlite", output=tmp_path / folder, experiment=name) for folder in "ab" for name in "xy"
    ]
    assert len({target.identity for target in chosen}) == 4
    assert TrackingTarget.choose("sqlite", output=tmp_path / "a", experiment="x").identity == chosen[0].identity


def test_the_command_for_the_page_is_one_shell_line(tmp_path) -> None:
    target = TrackingTarget.choose("sqlite", output=tmp_path / "an output; rm")
    words = shlex.split(mlflow_ui_command(target))
    assert words[0] == "MLFLOW_DISABLE_TELEMETRY=true"
    assert words[2:] == ["ui", "--backend-store-uri", target.uri]


def test_the_command_names_the_program_beside_python_if_it_is_not_on_the_path(tmp_path, monkeypatch) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    (tmp_path / "bin" / "mlflow").touch()
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", "/nowhere")
    target = TrackingTarget.choose("sqlite", output=tmp_path)
    assert shlex.split(mlflow_ui_command(target))[1] == str(tmp_path / "bin" / "mlflow")


def test_a_server_is_opened_and_nowhere_is_nothing(tmp_path) -> None:
    server = TrackingTarget.choose("server", uri="http://127.0.0.1:5000", output=tmp_path)
    assert mlflow_ui_command(server) == "open http://127.0.0.1:5000"
    assert mlflow_ui_command(TrackingTarget.choose("none", output=tmp_path)) == ""


def test_the_tracker_fits_the_target(tmp_path) -> None:
    assert isinstance(open_tracker(tmp_path, TrackingTarget.choose("none", output=tmp_path)), NullTracker)
    assert list(tmp_path.iterdir()) == []
    assert isinstance(open_tracker(tmp_path, TrackingTarget.choose("sqlite", output=tmp_path)), OutboxTracker)
