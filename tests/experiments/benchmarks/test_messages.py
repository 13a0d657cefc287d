"""The message benchmark: nothing runs before it is measured, and nothing stays behind."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from aggregator.rounds import collect_updates
from experiments.benchmarks import messages
from experiments.benchmarks.alternation import measure_all
from experiments.benchmarks.messages import RunningPair, inline_rounds, message_comparisons
from experiments.benchmarks.stock_flower import StockFlower
from federation.errors import TransportError

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX") or not hasattr(os, "killpg"), reason="needs Unix sockets and process groups"
)


def test_comparisons_are_cheap_to_make_and_closing_twice_is_no_harm() -> None:
    running = RunningPair()
    names = [comparison.name for comparison in message_comparisons(running)]
    assert names == ["flower_round_2_sites", "flower_round_10_sites", "gate_message"]
    beside = [other.name for comparison in message_comparisons(running) for other in comparison.beside]
    assert beside == ["flower_round_2_sites_inline", "flower_round_10_sites_inline"]
    running.close()
    running.close()


def test_the_floor_of_a_round_is_the_same_round_in_one_process(tmp_path, monkeypatch) -> None:
    folded = []

    def collect(*args, round_number, **rest):
        fold = collect_updates(*args, round_number=round_number, **rest)
        folded.append((round_number, fold.contributors))
        return fold

    monkeypatch.setattr(messages, "collect_updates", collect)
    take = inline_rounds(tmp_path, 2)
    assert all(take() > 0 for _ in range(3))
    # A round that was answered before would be an agent's kept reply, and no work.
    assert [number for number, _ in folded] == [1, 2, 3]
    assert all(set(contributors) == {"site-0", "site-1"} for _, contributors in folded)


def test_stock_processes_and_their_children_are_ended(tmp_path) -> None:
    stock = StockFlower(tmp_path, sites=1, content_bytes=1)
    script = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"
    stock._start("fake", sys.executable, "-c", script, environment=os.environ)
    group = stock._processes[0].pid
    assert members(group)
    stock.close()
    assert not members(group)
    stock.close()


def members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_stock_process_that_dies_ends_the_wait(tmp_path) -> None:
    stock = StockFlower(tmp_path, sites=1, content_bytes=1)
    stock._start("fake", sys.executable, "-c", "raise SystemExit(3)", environment=os.environ)
    with pytest.raises(TransportError, match="stock Flower"):
        stock.round()
    stock.close()


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore")  # Flower's own
@pytest.mark.parametrize("name", ["flower_round_2_sites", "gate_message"])
def test_both_ways_do_the_work(name: str) -> None:
    running = RunningPair()
    try:
        (comparison,) = [found for found in message_comparisons(running) if found.name == name]
        found = measure_all(comparison, repetitions=1)
    finally:
        running.close()
    assert [item.name for item in found] == [name, *(other.name for other in comparison.beside)]
    assert all(item.ours > 0 and item.floor > 0 for item in found)
