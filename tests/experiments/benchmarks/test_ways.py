"""What is called the same work is the same work: ways reach the same parameters, and say so when they cannot be taken."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks import peer_environment
from experiments.benchmarks.records import Skipped
from experiments.benchmarks.ways import bare_loop, opacus_loop
from experiments.benchmarks.ways.__main__ import main
from experiments.benchmarks.ways.given import Finished, Missing, give, judge, parameters_file, read_given
from experiments.benchmarks.ways.ours import ENGINES, ours_round
from experiments.benchmarks.ways.running import WayRun, take_way
from experiments.benchmarks.workload import Workload
from federation.errors import ConfigurationError, InvalidInputError

# Batches that do not divide the patients: a wrong order would show.
_SMALL = Workload(num_sites=3, num_patients=70, num_features=5, batch_size=16, rounds=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    give(_SMALL, tmp_path)
    return tmp_path


@pytest.fixture
def private_folder(tmp_path: Path) -> Path:
    give(_SMALL.model_copy(update={"private": True}), tmp_path)
    return tmp_path


@pytest.mark.parametrize("engine", ENGINES)
def test_ours_and_the_bare_loop_take_the_same_steps(folder: Path, engine: str) -> None:
    given = read_given(folder)
    ours, ends, _ = ours_round(given, engine)
    bare, bare_ends = bare_loop.run(given)
    assert np.linalg.norm(ours - given.initial) > 0.1
    np.testing.assert_allclose(ours, bare, atol=1e-6)
    assert len(ends) == len(bare_ends) == _SMALL.rounds
    assert sorted(ends) == ends


def test_other_orders_give_another_model(folder: Path) -> None:
    given = read_given(folder)
    other = type(given)(
        workload=given.workload,
        features=given.features,
        outcomes=given.outcomes,
        orders=given.orders[:, :, ::-1].copy(),
        initial=given.initial,
    )
    assert np.abs(bare_loop.run(given)[0] - bare_loop.run(other)[0]).max() > 1e-4


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # Opacus' own, on inputs without a gradient
@pytest.mark.parametrize("ghost", [False, True])
def test_private_ways_learn_about_as_much_as_each_other(private_folder: Path, *, ghost: bool) -> None:
    given = read_given(private_folder)
    ours, _, _ = ours_round(given, "inline")
    theirs, ends = opacus_loop.run(given, ghost=ghost)
    assert len(ends) == _SMALL.rounds
    assert judge(given, theirs)[0] == pytest.approx(judge(given, ours)[0], rel=0.15)
    assert np.linalg.norm(theirs - given.initial) > 0.1


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # Opacus' own, on inputs without a gradient
def test_a_large_batch_of_hooked_gradients_goes_through_in_passes(
    private_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    given = read_given(private_folder)
    features, outcomes = torch.from_numpy(given.features[0]), torch.from_numpy(given.outcomes[0])
    monkeypatch.setattr(opacus_loop, "NOISE_MULTIPLIER", 0.0)
    found: list[torch.Tensor] = []
    for largest in (2**30, 1):
        monkeypatch.setattr(opacus_loop, "LARGEST_GRADIENTS", largest)
        model = given.model()
        opacus_loop.hooked_step(model, batch_size=16)(features[:20], outcomes[:20])
        found.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach())
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-5)


def test_a_way_leaves_its_parameters_and_one_line(folder: Path) -> None:
    finished = Finished.from_json(main("bare", folder), error=InvalidInputError)
    assert len(finished.round_seconds) == _SMALL.rounds - 1
    assert parameters_file(folder, "bare").is_file()
    assert 0 < finished.loss < 1
    assert 0 < finished.accuracy <= 1
    assert finished.peak_mib > 1


def test_a_way_that_is_not_installed_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pfl", None)
    assert "pfl" in Missing.from_json(main("pfl", folder), error=InvalidInputError).missing


def test_an_unknown_way_and_engine_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="crawl"):
        main("crawl", folder)
    with pytest.raises(ConfigurationError, match="crawl"):
        ours_round(read_given(folder), "crawl")


def test_a_folder_without_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        read_given(tmp_path)


def test_a_way_runs_in_a_process_of_its_own(folder: Path) -> None:
    taken = take_way("bare", folder, threads=1)
    assert isinstance(taken, WayRun), taken
    assert taken.finished.threads == 1
    assert taken.process_seconds > sum(taken.finished.round_seconds)


def test_a_way_that_fails_or_never_ends_is_skipped_with_the_reason(folder: Path) -> None:
    failed = take_way("crawl", folder, threads=1)
    assert isinstance(failed, Skipped)
    assert "ended with 1" in failed.reason
    late = take_way("bare", folder, threads=1, seconds=0.01)
    assert isinstance(late, Skipped)
    assert "did not finish" in late.reason


def test_pfl_without_its_environment_is_skipped_with_the_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_environment, "PYTHON", folder / "no-python")
    taken = take_way("pfl", folder, threads=1)
    assert isinstance(taken, Skipped)
    assert peer_environment.COMMAND in taken.reason


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["flower", "pfl"])
def test_other_systems_take_the_same_steps(folder: Path, way: str) -> None:
    if way == "pfl" and not peer_environment.PYTHON.exists():
        pytest.skip(f"pfl needs an environment of its own: {peer_environment.COMMAND}")
    taken = take_way(way, folder, threads=1)
    assert isinstance(taken, WayRun), taken
    assert len(taken.finished.round_seconds) == _SMALL.rounds - 1
    from safetensors.numpy import load_file

    found = load_file(parameters_file(folder, way))["parameters"]
    np.testing.assert_allclose(found, bare_loop.run(read_given(folder))[0], atol=1e-5)
