"""Rounds of trivial work over real processes: ours beside stock Flower's, in turns on the same machine.

Ours: SuperLink, one SuperNode and one agent per site over a Unix socket, as ``engine=flower`` runs them; each agent takes one
step on sixteen patients, keeps its reply durably and answers. Stock Flower: see :mod:`experiments.benchmarks.stock_flower`. Both
deployments run at the same time; the one that is not measured waits.
"""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from aggregator.rounds import collect_updates
from aggregator.transport import Transport
from experiments.benchmarks.alternation import Comparison, Work
from experiments.benchmarks.gate_messages import GateDeployment
from experiments.benchmarks.stock_flower import StockFlower
from experiments.benchmarks.workload import Workload, agents_of
from experiments.engines.flower import run_with_flower
from federation.errors import TransportError
from federation.models.build import build_model
from federation.models.parameters import initial_parameters
from federation.study.manifest import StudyManifest

SITES: Final = (2, 10)
_ROUNDS: Final = 10_000
"""Of the study; never reached."""
_ANSWER_SECONDS: Final = 600.0
CONTENT_BYTES: Final = 1000
"""Of stock Flower's messages; ours are as large, with what a request and a reply say besides the model."""
_PATIENTS: Final = 16
_FEATURES: Final = 8


class OurDeployment(threading.Thread):
    """Our processes, in a thread that takes a round when it is asked to.

    Args:
        folder: Empty.
        sites: How many.
    """

    def __init__(self, folder: Path, sites: int) -> None:
        super().__init__(name=f"ours-{sites}", daemon=True)
        self._folder = folder
        self._workload = Workload(
            num_sites=sites, num_patients=_PATIENTS, num_features=_FEATURES, batch_size=_PATIENTS, rounds=_ROUNDS
        )
        self._asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[float | BaseException] = queue.SimpleQueue()

    def round(self) -> float:
        """One round.

        Returns:
            Seconds from dispatch until every update is folded.

        Raises:
            TransportError: If the processes do not start, or a site does not answer.
        """
        self._asked.put("round")
        found = self._answers.get()
        if isinstance(found, BaseException):
            raise TransportError(f"expected a round, got {found}", remedy=f"see {self._folder}") from found
        return found

    def close(self) -> None:
        """End the processes."""
        self._asked.put("end")
        self.join()

    def run(self) -> None:
        """Start the processes and take rounds until it is closed."""
        manifest = self._workload.manifest()
        agents_of(self._workload.data, manifest, self._folder)
        folders = {site: self._folder / site for site in self._workload.sites}
        try:
            run_with_flower(
                folders,
                lambda transport: self._take_rounds(manifest, transport),
                folder=self._folder / "flower",
                deadline_seconds=_ANSWER_SECONDS,
            )
        except BaseException as failure:  # noqa: BLE001 - whoever waits for a round is told
            self._answers.put(failure)

    def _take_rounds(self, manifest: StudyManifest, transport: Transport) -> None:
        model = build_model(manifest.model, task="binary", num_features=_FEATURES, num_outputs=1, private=False)
        parameters = initial_parameters(model, seed=manifest.initial_seed)
        number = 0
        while self._asked.get() == "round":
            number += 1
            started = time.perf_counter()
            collect_updates(manifest, transport, round_number=number, parameters=parameters, broadcast={})
            self._answers.put(time.perf_counter() - started)


class RunningPair:
    """Our deployment and stock Flower's, running side by side; those of another comparison take their place.

    Ended with :meth:`close`, which may be called twice.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: tuple[int, bool] | None = None
        self._ours: Work = _nothing
        self._stock: Work = _nothing

    def ours(self, sites: int, *, gate: bool = False) -> float | None:
        """Seconds of one of our rounds; with ``gate`` of one message through it."""
        self._run(sites, gate=gate)
        return self._ours()

    def stock(self, sites: int, *, gate: bool = False) -> float | None:
        """Seconds of one round of stock Flower beside it."""
        self._run(sites, gate=gate)
        return self._stock()

    def close(self) -> None:
        """End all processes."""
        self._stack.close()
        self._running = None

    def _run(self, sites: int, *, gate: bool) -> None:
        if self._running == (sites, gate):
            return
        self.close()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="cohortium-bench-")))
        for name in ("ours", "stock"):
            (folder / name).mkdir()
        if gate:
            self._ours = self._stack.enter_context(GateDeployment(folder / "ours", content_bytes=CONTENT_BYTES)).message
        else:
            ours = OurDeployment(folder / "ours", sites)
            self._stack.callback(ours.close)
            ours.start()
            self._ours = ours.round
        self._stock = self._stack.enter_context(StockFlower(folder / "stock", sites, content_bytes=CONTENT_BYTES)).round
        self._running = (sites, gate)


def _nothing() -> None:
    return None


def message_comparisons(running: RunningPair) -> tuple[Comparison, ...]:
    """Rounds at 2 and 10 sites, and one message through the gate. Cheap to make: processes start when one is measured.

    Args:
        running: Holds the processes; whoever made it closes it after the last measurement.
    """
    rounds = (
        Comparison(
            name=f"flower_round_{sites}_sites",
            question=f"a round of trivial work at {sites} sites over our processes / over stock Flower's with torch",
            ours=partial(running.ours, sites),
            floor=partial(running.stock, sites),
            unit="round",
        )
        for sites in SITES
    )
    return (
        *rounds,
        Comparison(
            name="gate_message",
            question="a message to a site and back through our gate over TLS / over stock Flower without TLS",
            ours=partial(running.ours, 1, gate=True),
            floor=partial(running.stock, 1, gate=True),
            unit="message",
        ),
    )
