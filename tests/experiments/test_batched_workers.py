"""Workers of the `batched` engine change time only: the same bits whatever their number, the same errors, no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from experiments.engines.batched import block_training
from experiments.engines.batched.sites import BatchedSites
from federation.errors import InternalError, NonFiniteModelError, StudyError
from federation.models.parameters import initial_parameters
from federation.study.manifest import StudyManifest
from site_client.patients import SiteData
from tests.experiments.batched_study import MODELS, OPTIMISERS, OUTCOMES, Run, batched_sites, data_of, run_engine, study
from tests.masked_study import SITES as MASKED_SITES
from tests.masked_study import masked_manifest
from tests.masked_study import site_data as masked_site_data
from tests.small_study import private as private_promise

SEVEN = {"a": 41, "b": 17, "c": 64, "d": 1, "e": 29, "f": 90, "g": 33}
"""Training patients of sites that no number of workers divides."""
ALGORITHMS = {
    "fedavg": {"kind": "fedavg"},
    "fedprox": {"kind": "fedprox", "mu": 0.3},
    "scaffold": {"kind": "scaffold"},
}


@pytest.fixture(autouse=True)
def _no_worker_is_left() -> Iterator[None]:
    yield
    assert _workers() == []


def _workers() -> list[BaseProcess]:
    """Of the engine. Other tests of this process may have left a pool for later."""
    return [child for child in active_children() if child.name.startswith("sites-")]


def _same(manifest, data, folder: Path) -> None:
    """With 1, 2 and 3 workers, and in blocks of one process."""
    plans = [(1, 1024), (2, 1024), (3, 1024), (1, 0)]
    runs: list[Run] = []
    for number, (workers, memory) in enumerate(plans):
        sites = batched_sites(manifest, data, num_workers=workers, memory_mib=memory)
        try:
            runs.append(_run(manifest, sites, folder / str(number)))
        finally:
            sites.close()
    for run in runs[1:]:
        for ours, theirs in zip(run.parameters, runs[0].parameters, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def _study(**changes) -> StudyManifest:
    return study(sizes=SEVEN, **changes)


def _data_of(manifest: StudyManifest, *, most: int = 1) -> list[SiteData]:
    return data_of(manifest, most=most, sizes=SEVEN)


def _run(manifest, sites: BatchedSites, folder: Path) -> Run:
    return run_engine(manifest, sites, folder)


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_bits_for_every_algorithm(algorithm: str, privacy: str, tmp_path: Path) -> None:
    manifest = _study(model="deep", algorithm=ALGORITHMS[algorithm], privacy=privacy)
    _same(manifest, _data_of(manifest), tmp_path)


@pytest.mark.parametrize("privacy", ["plain", "private"])
@pytest.mark.parametrize("model", MODELS)
def test_the_same_bits_for_every_model_with_several_records_a_patient(model: str, privacy: str, tmp_path: Path) -> None:
    manifest = _study(model=model, privacy=privacy)
    _same(manifest, _data_of(manifest, most=3), tmp_path)


@pytest.mark.parametrize("task", OUTCOMES)
@pytest.mark.parametrize("privacy", ["plain", "private"])
def test_the_same_bits_for_every_task(task: str, privacy: str, tmp_path: Path) -> None:
    manifest = _study(model="deep", task=task, privacy=privacy)
    _same(manifest, _data_of(manifest), tmp_path)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_same_bits_for_every_optimiser(optimiser: str, tmp_path: Path) -> None:
    schedule = {"rounds": 3, "local_steps": 7, "batch_size": 13, "optimiser": OPTIMISERS[optimiser]}
    manifest = _study(model="deep", schedule=schedule)
    _same(manifest, _data_of(manifest, most=2), tmp_path)


def test_the_same_bits_for_noise_in_shares(tmp_path: Path) -> None:
    manifest = masked_manifest(
        tmp_path,
        privacy=private_promise(epsilon=20.0, probability=0.5, steps=3) | {"noise": "distributed"},
        schedule={"rounds": 3, "local_steps": 1, "batch_size": 16, "optimiser": {"learning_rate": 0.5}},
        evaluation={"release": "none"},
    )
    _same(manifest, [masked_site_data(site) for site in MASKED_SITES], tmp_path)


def _started(manifest, **plan) -> tuple[BatchedSites, np.ndarray]:
    sites = batched_sites(manifest, _data_of(manifest), num_workers=2, **plan)
    return sites, initial_parameters(sites._module, seed=1)


def _round(sites: BatchedSites, parameters: np.ndarray, number: int = 1) -> list:
    return list(sites.train(round_number=number, parameters=parameters, broadcast={}, prepared=None))


def test_a_worker_that_is_killed_ends_the_study_with_an_error() -> None:
    sites, parameters = _started(_study())
    _round(sites, parameters)
    victim = _workers()[0]
    os.kill(victim.pid, signal.SIGKILL)
    with pytest.raises(StudyError, match="signal 9") as failure:
        _round(sites, parameters, 2)
    assert "num_workers=1" in str(failure.value.remedy)
    assert _workers() == []


def test_what_fails_in_a_worker_is_the_error_that_it_is_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args, **_kwargs) -> None:
        raise InternalError("expected a loss, got none")

    monkeypatch.setattr(block_training, "train_plainly", fail)
    sites, parameters = _started(_study())
    with pytest.raises(InternalError, match="expected a loss, got none"):
        _round(sites, parameters)


@pytest.mark.parametrize("name", ["train_plainly", "draw_batches"])
def test_what_fails_in_a_worker_only_is_computed_here(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    works, here = getattr(block_training, name), os.getpid()

    def fail_elsewhere(*args, **kwargs):
        if os.getpid() != here:
            raise MemoryError
        return works(*args, **kwargs)

    def trained() -> list:
        sites, parameters = _started(_study())
        with closing(sites):
            return _round(sites, parameters)

    wanted = trained()
    monkeypatch.setattr(block_training, name, fail_elsewhere)
    for (site, ours), (_, theirs) in zip(trained(), wanted, strict=True):
        np.testing.assert_array_equal(ours["update"], theirs["update"], err_msg=site)


def test_whoever_stops_in_the_middle_of_a_round_leaves_no_worker_and_can_train_again() -> None:
    sites, parameters = _started(_study())
    round_ = sites.train(round_number=1, parameters=parameters, broadcast={}, prepared=None)
    first, _ = next(round_)
    assert len(_workers()) == 2
    round_.close()
    assert _workers() == []
    with closing(sites):
        assert _round(sites, parameters)[0][0] == first


def test_a_site_without_a_model_is_left_out_as_without_workers() -> None:
    schedule = {"rounds": 1, "local_steps": 40, "batch_size": 16, "optimiser": {"learning_rate": 1e30}}
    manifest = _study(model="deep", task="regression", schedule=schedule)
    sites, parameters = _started(manifest)
    with closing(sites):
        assert {type(found) for _, found in _round(sites, parameters)} == {NonFiniteModelError}


_STUDY = """
import signal, sys, time
from multiprocessing import active_children
from pathlib import Path
from tests.experiments.batched_study import batched_sites, data_of, run_engine, study
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests themselves run in the background
    sizes = {f"site-{n}": 30 + n for n in range(8)}
    schedule = {"rounds": 100000, "local_steps": 4, "batch_size": 16, "optimiser": {"learning_rate": 0.1}}
    manifest = study(sizes=sizes, schedule=schedule, evaluation={"release": "none"})
    sites = batched_sites(manifest, data_of(manifest, sizes=sizes), num_workers=2)
    train = sites.train
    def told(**words):
        yield from train(**words)
        print(*(child.pid for child in active_children()), flush=True)
    sites.train = told
    try:
        run_engine(manifest, sites, Path(sys.argv[1]))
    finally:
        sites.close()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_simulation(how: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STUDY, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as simulation:
        assert simulation.stdout is not None
        workers = [int(pid) for pid in simulation.stdout.readline().split()]
        assert len(workers) == 2
        if how is signal.SIGINT:
            os.killpg(simulation.pid, how)  # as a terminal does
        else:
            simulation.send_signal(how)
        simulation.communicate()
        assert simulation.returncode != 0
    for pid in workers:
        _wait_for_end(pid)


def _wait_for_end(pid: int) -> None:
    """A worker ends when its pipe is closed, at the latest after the block that it is at."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":  # nobody is left to ask how it ended
            return
        time.sleep(0.05)
    pytest.fail(f"worker {pid} is still there")
