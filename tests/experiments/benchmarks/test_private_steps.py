"""The ways of a private step take as many steps, and the error of our gradients is measured against the definition."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmarks import private_steps
from experiments.benchmarks.private_steps import (
    gradient_error,
    noise_of_steps,
    opacus_steps,
    our_steps,
    plain_steps,
)
from experiments.benchmarks.scale_plan import UnitCosts
from experiments.benchmarks.unit_costs import message_costs, secure_costs
from experiments.benchmarks.whole_process import simulate_command
from experiments.benchmarks.workload import Workload
from tests.experiments.benchmarks.example_run import run_of

_WORK = Workload(num_sites=1, num_patients=60, num_features=4, batch_size=30, rounds=1, steps=5, private=True)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # Opacus' own, on inputs without a gradient
@pytest.mark.parametrize("ghost", [False, True])
def test_all_ways_of_a_step_run(*, ghost: bool) -> None:
    for work in (our_steps(_WORK), plain_steps(_WORK), noise_of_steps(_WORK), opacus_steps(_WORK, ghost=ghost)):
        assert work() is None


def test_the_plain_way_takes_as_many_steps_of_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []

    def count(*_: object, batch_size: int) -> None:
        batches.append(batch_size)

    taken: list[int] = []
    monkeypatch.setattr(
        private_steps,
        "local_steps",
        lambda *rest, batch_size: (taken.append(len(rest[3])), count(batch_size=batch_size)),
    )
    plain_steps(_WORK)()
    assert batches == [30]
    assert taken == [5 * 30]


def test_the_gradients_are_those_of_the_definition() -> None:
    found = gradient_error("mlp")
    assert found.name == "private_gradient_error_mlp"
    assert found.value < 1e-5


def test_another_clipping_norm_would_show_as_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = private_steps.looped_sum
    monkeypatch.setattr(private_steps, "looped_sum", lambda model, workload: 1.001 * exact(model, workload))
    assert gradient_error("mlp").value > 5e-4


def test_the_unit_costs_are_all_that_a_plan_needs() -> None:
    costs = UnitCosts.of(run_of(figures=(*message_costs(1), *secure_costs(1))))
    assert costs.message_bytes > 100
    assert costs.key_pair_bytes > 2 * 32
    assert costs.mask_seconds_per_parameter > 0
    assert costs.share_seconds > 0


def test_the_whole_command_is_of_the_same_shape(tmp_path: Path) -> None:
    from conf.loading import load
    from experiments.settings import SimulationSettings

    workload = Workload(rounds=20)
    command = simulate_command(workload, tmp_path, engine="inline")
    assert command[1] == "simulate"
    settings = load(SimulationSettings, command[2:])
    assert settings.model == workload.model
    assert (settings.schedule.rounds, settings.schedule.local_steps, settings.schedule.batch_size) == (20, 32, 64)
    assert settings.study.options["num_sites"] == 10
    assert 0.7 * settings.study.options["patients_per_site"] == pytest.approx(2000, rel=1e-3)
    assert settings.evaluation.release == "none"
    assert settings.tracking.kind == "none"
    assert not settings.baselines.pooled.enabled
    assert (tmp_path / "contract.yaml").read_text().count("kind: continuous") == 30
