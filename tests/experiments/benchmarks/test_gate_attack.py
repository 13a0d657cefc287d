"""The attack on the gate is what it says, and the measurement beside it works; how fast is no test's business."""

from __future__ import annotations

import os
import socket
import ssl

import pytest

from experiments.benchmarks import gate_attack
from experiments.benchmarks.alternation import measure
from experiments.benchmarks.gate_attack import AttackedGate, SlowConnections, attack_comparison
from experiments.benchmarks.goals import GOALS


class Line:
    """Stands for a connection that the gate cuts after some bytes."""

    def __init__(self, most: int) -> None:
        self.most, self.sent, self.closed = most, 0, False

    def sendall(self, content: bytes) -> None:
        self.sent += len(content)
        if self.sent > self.most:
            raise ConnectionResetError

    def close(self) -> None:
        self.closed = True


def test_connections_that_are_cut_are_opened_again_and_the_number_is_what_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Line] = []

    def connected(port: int, context: ssl.SSLContext, *, source: int) -> Line:
        assert 0 <= source < 8
        made.append(Line(most=200))
        return made[-1]

    monkeypatch.setattr(gate_attack, "connected", connected)
    slow = SlowConnections(1, ssl.create_default_context())
    assert slow.fill() == gate_attack.CONNECTIONS == len(made) == 200
    made[7].most = 0
    slow.drip()
    assert made[7].closed
    assert slow.fill() == 200
    assert len(made) == 201


def test_it_is_cheap_to_make_and_has_a_goal() -> None:
    gate = AttackedGate(content_bytes=10)
    assert attack_comparison(gate).name in {goal.name for goal in GOALS}
    gate.close()
    gate.close()


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore")  # Flower's own
@pytest.mark.skipif(not hasattr(socket, "AF_UNIX") or not hasattr(os, "killpg"), reason="needs Unix sockets")
def test_a_message_arrives_beside_the_attack() -> None:
    gate = AttackedGate(content_bytes=1000)
    try:
        measured = measure(attack_comparison(gate), repetitions=1)
    finally:
        gate.close()
    assert measured.ours > 0
    assert measured.floor > 0
