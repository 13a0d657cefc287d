"""The settings of `engine=ray`, and what is refused before a cluster is joined."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from conf.loading import load
from experiments.engines import ray as engine
from experiments.engines import with_agents
from experiments.ray_choice import RayEngine
from experiments.settings import SimulationSettings
from federation.errors import ConfigurationError, PrivacyRefusedError, TransportError
from site_client.site_folder import SiteFolder
from tests.small_study import SITES, manifest, private, site_folders


def _engine(*overrides: str) -> RayEngine:
    chosen = load(SimulationSettings, ["study=demo", "engine=ray", *overrides]).engine
    assert isinstance(chosen, RayEngine)
    return chosen


def test_by_default_there_are_workers_on_this_machine_alone() -> None:
    assert _engine().address is None
    assert _engine("engine.num_workers=3").num_workers == 3


@pytest.mark.parametrize(
    "address", ["10.0.0.5:6379", "head.cluster.example:6379", "localhost:1", "'[fd00::5]:65535'"], ids=lambda text: text
)
def test_a_clusters_address_is_a_host_and_a_port(address: str) -> None:
    assert _engine(f"engine.address={address}").address == address.strip("'")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("auto", "names no cluster"),
        ("local", "names no cluster"),
        ("'ray://10.0.0.5:10001'", "Ray Client"),
        ("10.0.0.5", "as `ray start --head` prints it"),
        ("10.0.0.5:0", "got '10.0.0.5:0'"),
        ("10.0.0.5:65536", "got '10.0.0.5:65536'"),
        ("':6379'", "got ':6379'"),
        ("'fd00::5:6379'", "got 'fd00::5:6379'"),
        ("'http://10.0.0.5:6379'", "got 'http://10.0.0.5:6379'"),
        ("'10.0.0.5:6379\n'", "expected HOST:PORT"),
        ("''", "got ''"),
    ],
)
def test_another_address_is_refused_with_its_reason(address: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=r"engine\.address: expected HOST:PORT such as") as failure:
        _engine(f"engine.address={address}")
    assert reason in str(failure.value)


def test_a_cluster_has_as_many_workers_as_it_has() -> None:
    with pytest.raises(ConfigurationError, match="engine: num_workers: expected null beside address"):
        _engine("engine.address=10.0.0.5:6379", "engine.num_workers=2")


def test_the_address_reaches_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(engine, "run_with_ray", lambda folders, run, **options: asked.update(options, folders=folders))
    folders = {"north": SiteFolder(tmp_path)}
    with_agents.run_with_agents(
        _engine("engine.address=10.0.0.5:6379"), lambda transport: pytest.fail("ran"), folders, tmp_path
    )
    assert asked == {"folders": {"north": tmp_path}, "num_workers": None, "address": "10.0.0.5:6379"}


def test_a_worker_is_told_whole_paths_since_it_has_another_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from experiments.engines import ray_cluster

    asked: list[dict[str, Path]] = []

    def joined(address: str, folders: dict[str, Path], **options: object) -> None:
        asked.append(folders)
        raise TransportError("expected to come as far as this")

    monkeypatch.setattr(ray_cluster, "joined", joined)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TransportError, match="as far as this"):
        engine.run_with_ray(
            {"north": Path("sites/north")}, lambda transport: pytest.fail("ran"), address="10.0.0.5:6379"
        )
    assert asked == [{"north": tmp_path / "sites" / "north"}]


def test_no_cluster_is_asked_to_hold_real_patients(tmp_path: Path) -> None:
    study = manifest(cohort={"provenance": "patients"})
    paths = {site: entry.path for site, entry in site_folders(tmp_path, study, seed=None).items()}
    with pytest.raises(PrivacyRefusedError, match="got a cohort of real patients"):
        engine.run_with_ray(paths, lambda transport: pytest.fail("ran"), address="127.0.0.1:1")


@pytest.mark.parametrize(("systems", "is_refused"), [({"one"}, False), ({"one", "two"}, True)])
def test_a_private_study_has_its_ledgers_on_one_machine(
    systems: set[str], is_refused: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from experiments.engines import ray_cluster

    left: list[bool] = []
    monkeypatch.setattr(ray_cluster.ray, "init", lambda **options: None)
    monkeypatch.setattr(ray_cluster.ray, "shutdown", lambda: left.append(True))
    for name, answer in {"_reach": None, "_wait_until_free": None, "_check_machines": systems}.items():
        monkeypatch.setattr(ray_cluster, name, lambda *given, answer=answer: answer)
    open_, paid = (
        {site: entry.path for site, entry in site_folders(tmp_path / name, study).items()}
        for name, study in {"open": manifest(), "paid": manifest(privacy=private())}.items()
    )
    with ray_cluster.joined("10.0.0.5:6379", open_, environment={}):
        assert left == []
    refused = (
        pytest.raises(PrivacyRefusedError, match="got 2 machines: a site's ledger") if is_refused else nullcontext()
    )
    with refused, ray_cluster.joined("10.0.0.5:6379", paid, environment={}):
        assert not is_refused
    assert left == [True, True]


def test_where_no_cluster_is_the_study_does_not_begin(tmp_path: Path) -> None:
    paths = {site: entry.path for site, entry in site_folders(tmp_path, manifest()).items()}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(TransportError, match=f"expected a Ray cluster at 127.0.0.1:{port}, nothing answers"):
        engine.run_with_ray(paths, lambda transport: pytest.fail("ran"), address=f"127.0.0.1:{port}")


def test_a_machine_says_whether_it_sees_the_same_folders(tmp_path: Path) -> None:
    from experiments.engines.ray_cluster import look

    mark = tmp_path / ".cluster-mark"
    mark.write_text("token", encoding="utf-8")
    folders = [str(entry.path) for entry in site_folders(tmp_path, manifest()).values()]
    named = f"the folder {tmp_path}"
    here = look({str(mark): "token"}, folders).has
    assert (here[named], here["folders of sites to write to"]) == ("shared", str(len(SITES)))
    assert look({str(mark): "of another machine"}, folders).has[named] == "another"
    elsewhere = look({str(tmp_path / "absent"): "token"}, [*folders, str(tmp_path / "none")])
    assert (elsewhere.has[named], elsewhere.has["folders of sites to write to"]) == ("another", str(len(SITES)))


def test_every_difference_of_a_machine_is_named() -> None:
    from experiments.engines.ray_cluster import Machine, _differences

    here = Machine("kernel", {"torch": "2.6.0", "numpy": "2.2.0"})
    assert list(_differences(here, Machine("another", {"torch": "2.6.0", "numpy": "2.2.0", "more": "1"}))) == []
    assert list(_differences(here, Machine("another", {"torch": "2.5.0"}))) == [
        "torch 2.5.0 instead of 2.6.0",
        "numpy unknown instead of 2.2.0",
    ]
    assert list(_differences(here, "ModuleNotFoundError")) == ["no answer (ModuleNotFoundError)"]
