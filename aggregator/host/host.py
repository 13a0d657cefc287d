"""The supervising process: everything of this host runs below it, and ends with it."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import signal
import threading
import time
from collections.abc import Generator
from types import FrameType
from typing import Final

from aggregator.host.gate import TOKEN_HEADER
from aggregator.host.health import HealthServer, ask
from aggregator.host.home import LOOPBACK, AggregatorHome
from aggregator.host.home_paths import HostLayout, read_small
from aggregator.host.programs import (
    GATE,
    SUPERLINK,
    coordinator_name,
    coordinator_program,
    environment,
    standing_programs,
)
from aggregator.host.registering import Registrar
from aggregator.host.revocation import Membership
from aggregator.host.study_metrics import study_metrics
from aggregator.host.study_outcome import is_over
from aggregator.host.study_place import launched_studies
from conf.processes.process_file import held_by_one, holder
from conf.processes.supervisor import Supervisor
from federation.errors import InvalidInputError

_LOG: Final = logging.getLogger("cohortium.host")
_LOOK_SECONDS: Final = 1.0
_REGISTER_SECONDS: Final = 5.0


class Host:
    """One aggregator's host.

    Args:
        layout: Its folder.
    """

    def __init__(self, layout: HostLayout) -> None:
        self._layout = layout
        self._home = layout.read()
        check_ready_to_start(layout)
        self._stop = threading.Event()
        self._membership = Membership(layout, clock=time.monotonic, now=_now, reread_seconds=self._home.reread_seconds)
        self._registrar = Registrar(
            f"{LOOPBACK}:{self._home.superlink_port}",
            headers={TOKEN_HEADER: read_small(layout.control_token, what="the host's token").decode()},
            membership=self._membership,
        )
        self._supervisor = Supervisor(layout.logs, environment(layout))
        self._programs = standing_programs(layout, self._home)

    @property
    def home(self) -> AggregatorHome:
        """The settings."""
        return self._home

    def run(self) -> None:
        """Run until :meth:`stop`, SIGTERM or Ctrl-C.

        Raises:
            ConfigurationError: If another host runs in the folder.
            TransportError: If a process does not start; the message names its log.
        """
        with only_one(self._layout), self._supervisor, self._health():
            self._supervisor.start(self._programs)
            keeping = threading.Thread(
                target=self._registrar.keep,
                args=(self._stop,),
                kwargs={"seconds": _REGISTER_SECONDS},
                name="registrar",
                daemon=True,
            )
            keeping.start()
            # No study waits for MLflow: results are kept until it takes them, and `health` says that it does not answer.
            self._supervisor.wait_until_ready([SUPERLINK, GATE])
            _LOG.info("ready: the gate listens on %s", self._home.listen)
            while not self._stop.wait(_LOOK_SECONDS):
                self._look_after_studies()

    def stop(self) -> None:
        """Let :meth:`run` return."""
        self._stop.set()

    def _look_after_studies(self) -> None:
        """One coordinator for each study that is launched and not over."""
        running = self._supervisor.states()
        for place in launched_studies(self._layout):
            name = coordinator_name(place)
            if name not in running and not is_over(place):
                self._supervisor.start([coordinator_program(self._layout, place)])
            elif name in running and running[name].over:
                self._supervisor.forget(name)

    def _health(self) -> HealthServer:
        return HealthServer(self._home.health_port, health=self.health, metrics=self.metrics)

    def health(self) -> dict[str, object]:
        """Processes, lists and what is wrong."""
        states = self._supervisor.states()
        lists = self._membership.current()
        down = [
            f"process {name} does not run" for name, state in states.items() if not state.process and not state.over
        ]
        silent = [f"process {program.name} does not answer" for program in self._programs if not program.ready()]
        found = (self._membership.problem, self._registrar.problem)
        return {
            "process": "host",
            "processes": {
                name: {"process": state.process, "restarts": state.restarts} for name, state in states.items()
            },
            "members": None if lists is None else {"number": lists.members.number, "sites": len(lists.members.members)},
            "revocations": None if lists is None else {"number": lists.revocations.number},
            "problems": [*down, *silent, *filter(None, found)],
        }

    def metrics(self) -> list[str]:
        """This host's figures, and those of the gate's process."""
        lines = ["# TYPE cohortium_process_up gauge", "# TYPE cohortium_process_restarts_total counter"]
        for name, state in sorted(self._supervisor.states().items()):
            lines.append(f'cohortium_process_up{{process="{name}"}} {int(state.process > 0)}')
            lines.append(f'cohortium_process_restarts_total{{process="{name}"}} {state.restarts}')
        _, gate = ask(self._home.gate_health_port, "/metrics")
        return [*lines, *study_metrics(self._layout), *gate.splitlines()]


def serve(layout: HostLayout) -> None:
    """Run a host in the foreground; SIGTERM and Ctrl-C end it in order."""
    host = Host(layout)

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of signal handlers
        host.stop()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    host.run()


def check_ready_to_start(layout: HostLayout) -> None:
    """Refuse to start without what the authority must have given.

    Raises:
        InvalidInputError: Naming what is missing.
    """
    needed = {
        layout.tls_certificate: "the gate's certificate",
        layout.tls_key: "the gate's key",
        layout.authority: "the consortium's authority",
        layout.authority_certificate: "the authority's certificate",
        layout.members: "the list of members",
        layout.revocations: "the list of revocations",
    }
    missing = [f"{what} ({path.name})" for path, what in needed.items() if not path.is_file()]
    if missing:
        raise InvalidInputError(
            f"expected a host that the authority has admitted in {layout.folder}, it lacks {', '.join(missing)}",
            remedy="send the request that `cohortium aggregator init` made to the authority, and install its answer",
        )


@contextlib.contextmanager
def only_one(layout: HostLayout) -> Generator[None]:
    """Hold the folder's process file while the host runs; its content is this process's number.

    Raises:
        ConfigurationError: If another process holds it.
    """
    layout.state.mkdir(parents=True, exist_ok=True)
    with held_by_one(
        layout.process_file,
        expected=f"no other host to run in {layout.folder}",
        remedy="`cohortium aggregator status` shows it, `cohortium aggregator stop` ends it",
    ):
        yield


def running_process(layout: HostLayout) -> int | None:
    """Number of the process that runs the host, or ``None`` if none does. The lock tells, not the number."""
    return holder(layout.process_file)


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)
