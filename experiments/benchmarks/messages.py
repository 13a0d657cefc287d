"""Rounds of trivial work over real processes: ours beside stock Flower's, in turns on the same machine.

Ours: SuperLink, one SuperNode and one agent per site over a Unix socket, as ``engine=flower`` runs them; each agent takes one
step on sixteen patients, keeps its reply durably and answers. Stock Flower: see :mod:`experiments.benchmarks.stock_flower`. Both
deployments run at the same time; the one that is not measured waits. The floor is our round in one process, agents called one after
another: the same work with no processes and no messages between them.
"""

from __future__ import annotations

import itertools
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from aggregator.rounds import collect_updates
from aggregator.transport import Transport
from experiments.benchmarks.alternation import Beside, Comparison, Work
from experiments.benchmarks.gate_messages import GateDeployment
from experiments.benchmarks.stock_flower import StockFlower
from experiments.benchmarks.workload import Workload, agents_of
from experiments.engines.flower import run_with_flower
from experiments.engines.inline import InlineTransport
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


def _trivial_work(sites: int) -> Workload:
    return Workload(
        num_sites=sites, num_patients=_PATIENTS, num_features=_FEATURES, batch_size=_PATIENTS, rounds=_ROUNDS
    )


def _rounds(manifest: StudyManifest, transport: Transport) -> Callable[[], float]:
    """What takes the next round of a study and returns its seconds, from dispatch until every update is folded."""
    model = build_model(manifest.model, task="binary", num_features=_FEATURES, num_outputs=1, private=False)
    parameters = initial_parameters(model, seed=manifest.initial_seed)
    numbers = itertools.count(1)

    def take() -> float:
        started = time.perf_counter()
        collect_updates(manifest, transport, round_number=next(numbers), parameters=parameters, broadcast={})
        return time.perf_counter() - started

    return take


def inline_rounds(folder: Path, sites: int) -> Callable[[], float]:
    """The same rounds in this process.

    Args:
        folder: Empty; the agents keep their replies in it.
        sites: How many.

    Returns:
        Takes the next round and returns its seconds.
    """
    workload = _trivial_work(sites)
    manifest = workload.manifest()
    agents = agents_of(workload.data, manifest, folder)
    return _rounds(manifest, InlineTransport({site: agent.handle for site, agent in agents.items()}))


class OurDeployment(threading.Thread):
    """Our processes, in a thread that takes a round when it is asked to.

    Args:
        folder: Empty.
        sites: How many.
    """

    def __init__(self, folder: Path, sites: int) -> None:
        super().__init__(name=f"ours-{sites}", daemon=True)
        self._folder = folder
        self._workload = _trivial_work(sites)
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
        take = _rounds(manifest, transport)
        while self._asked.get() == "round":
            self._answers.put(take())


class RunningPair:
    """Our deployment and stock Flower's, running side by side; those of another comparison take their place.

    Ended with :meth:`close`, which may be called twice.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: tuple[int, bool] | None = None
        self._ours: Work = _nothing
        self._stock: Work = _nothing
        self._inline: Work = _nothing

    def ours(self, sites: int, *, gate: bool = False) -> float | None:
        """Seconds of one of our rounds; with ``gate`` of one message through it."""
        self._run(sites, gate=gate)
        return self._ours()

    def stock(self, sites: int, *, gate: bool = False) -> float | None:
        """Seconds of one round of stock Flower beside it."""
        self._run(sites, gate=gate)
        return self._stock()

    def inline(self, sites: int) -> float | None:
        """Seconds of one of our rounds in this process."""
        self._run(sites, gate=False)
        return self._inline()

    def close(self) -> None:
        """End all processes."""
        self._stack.close()
        self._running = None

    def _run(self, sites: int, *, gate: bool) -> None:
        if self._running == (sites, gate):
            return
        self.close()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="cohortium-bench-")))
        for name in ("ours", "stock", "inline"):
            (folder / name).mkdir()
        if gate:
            self._ours = self._stack.enter_context(GateDeployment(folder / "ours", content_bytes=CONTENT_BYTES)).message
        else:
            ours = OurDeployment(folder / "ours", sites)
            self._stack.callback(ours.close)
            ours.start()
            self._ours = ours.round
            self._inline = inline_rounds(folder / "inline", sites)
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
            beside=(
                Beside(
                    name=f"flower_round_{sites}_sites_inline",
                    question=f"a round of trivial work at {sites} sites over our processes / the same in one process",
                    work=partial(running.inline, sites),
                ),
            ),
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
