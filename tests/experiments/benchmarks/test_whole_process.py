"""The bench of whole simulations has a floor and a peer, and keeps what is ours where the peer is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmarks import whole_process
from experiments.benchmarks.benches import Effort
from experiments.benchmarks.records import Skipped
from experiments.benchmarks.simulation_phases import OVERHEAD, Simulation
from experiments.benchmarks.whole_process import whole_process_bench
from experiments.phases import PHASES, PhaseTimes


@pytest.fixture
def wholes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Simulations that take 10, 20, ... seconds, 2 of them training; imports take 4."""
    taken: list[float] = []

    def whole(self: Simulation) -> float:
        taken.append(10.0 * (len(taken) + 1))
        seconds = dict.fromkeys(PHASES, 0.0) | {"training": 2.0}
        self.times.append(PhaseTimes(seconds=seconds, processor_seconds=seconds))
        return taken[-1]

    monkeypatch.setattr(Simulation, "whole", whole)
    monkeypatch.setattr(whole_process, "modules_of", lambda _, folder: folder / "modules.txt")
    monkeypatch.setattr(whole_process, "import_only", lambda _: 4.0)
    return taken


def test_a_floor_and_a_peer_stand_beside_ours(wholes: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_process, "_flower", lambda _: 40.0)
    found = whole_process_bench().measured(Effort(quick=True))
    assert wholes == [10.0, 20.0]  # the first warms up
    assert {item.name: item.ratio for item in found.measurements} == {
        "whole_simulation_import_floor": 5.0,
        "whole_simulation_flower": 0.5,
    }
    assert found.skipped == []


def test_without_the_peer_ours_and_its_floor_are_measured_all_the_same(
    wholes: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_there(way: str, folder: Path, *, threads: int) -> Skipped:
        return Skipped(name=way, reason="flwr is not installed")

    monkeypatch.setattr(whole_process, "take_way", not_there)
    found = whole_process_bench().measured(Effort(quick=True))
    assert wholes == [10.0, 20.0, 30.0]  # the first ended at the peer
    assert [(item.name, item.ours) for item in found.measurements] == [("whole_simulation_import_floor", 30.0)]
    assert {item.name: item.value for item in found.figures}[OVERHEAD] == 30.0 - 2.0 - 4.0
    assert [item.name for item in found.skipped] == ["whole_simulation_flower"]
    assert "flwr is not installed" in found.skipped[0].reason
