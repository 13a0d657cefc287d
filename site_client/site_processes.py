"""A site's two processes, supervised: agent and gateway are started, watched, started again when they die, and stopped in order."""

from __future__ import annotations

import datetime as dt
import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Final

from conf.processes.supervisor import Program, Supervisor
from federation.errors import ConfigurationError
from site_client.accounts import (
    Account,
    check_interpreter,
    logs_folder,
    share_out,
    share_with_gateway,
    without_network,
)
from site_client.home_paths import SiteLayout
from site_client.running import only_one

_LOG: Final = logging.getLogger("cohortium.site")
_LOOPBACK: Final = "127.0.0.1"
_LOGS_FOR_AGENT: Final = 0o750
AGENT: Final = "agent"
GATEWAY: Final = "gateway"
QUIET: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_LOG_LEVEL": "WARNING",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
_PROXIES: Final = ("HTTPS_PROXY", "https_proxy")
_OF_EVERY_PROCESS: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
"""All that the gateway learns of this environment: a password of the hospital's database may be in the rest."""


@dataclass(frozen=True)
class Start:
    """How the processes are to run.

    Args:
        agent: Account of the record side.
        gateway: Account of the network side.
        isolated: Whether the agent must have no network.
        proxy: Address of an HTTP proxy to the gate, or ``None``.
        warm_studies: Studies whose patients the agent keeps in memory at the same time; ``None``: its default.
    """

    agent: Account
    gateway: Account
    isolated: bool
    proxy: str | None
    warm_studies: int | None = None

    @classmethod
    def chosen(
        cls, *, agent_user: str | None, gateway_user: str | None, one_user: bool, isolated: bool, proxy: str | None
    ) -> Start:
        """From what the command line says.

        Raises:
            ConfigurationError: If two accounts are needed and not given, or given and of no use.
        """
        if agent_user is not None and gateway_user is not None:
            agent, gateway = Account.named(agent_user), Account.named(gateway_user)
            if os.getuid() != 0:
                raise ConfigurationError(
                    "expected root to start processes of two accounts, got another",
                    remedy="use sudo, or start each as its own account: `cohortium site agent`, `cohortium site gateway`",
                )
            if agent.user == gateway.user or 0 in (agent.user, gateway.user):
                raise ConfigurationError(
                    "expected two different accounts, neither of them root",
                    remedy="make one for the agent and one for the gateway: `useradd --system NAME`",
                )
            return cls(agent, gateway, isolated, proxy)
        if agent_user is not None or gateway_user is not None or (os.getuid() == 0 and not one_user):
            raise ConfigurationError(
                "expected --agent-user and --gateway-user, got "
                + ("one of them" if agent_user or gateway_user else "neither"),
                remedy="name two accounts, so that the process with the network cannot read a record; --one-user is for trying out",
            )
        own = Account.own()
        return cls(own, own, isolated, proxy)


def run_site(layout: SiteLayout, start: Start, *, stop: threading.Event) -> None:
    """Run both processes until ``stop`` is set.

    Args:
        layout: Of the site's home.
        start: How.
        stop: Set by whoever wants it to end.

    Raises:
        InvalidInputError: If the site is not enrolled.
        ConfigurationError: If it runs already, or may not run as chosen.
        CodeRefusedError: If the installed code is not what the site has accepted.
        TransportError: If the agent does not start; the message names its log.
    """
    layout.read()
    _check_code(layout)
    logs = logs_folder(layout)
    logs.mkdir(parents=True, exist_ok=True)
    with only_one(layout):
        two_accounts = start.agent.user != start.gateway.user
        if two_accounts:
            check_interpreter(start.agent)
            check_interpreter(start.gateway)
            share_out(layout, start.agent, start.gateway)
            os.chown(logs, os.getuid(), start.agent.group)
            logs.chmod(_LOGS_FOR_AGENT)
        else:
            layout.run.mkdir(parents=True, exist_ok=True)
            (layout.gateway / "state").mkdir(parents=True, exist_ok=True)
        layout.agent_socket.unlink(missing_ok=True)
        programs = [agent_program(layout, start), gateway_program(layout, start)]
        with Supervisor(logs, dict(os.environ)) as supervisor:
            supervisor.start(programs)
            supervisor.wait_until_ready([AGENT])
            _LOG.info("site %s runs", layout.read().site)
            stop.wait()


def _check_code(layout: SiteLayout) -> None:
    """Both processes look for themselves; here the refusal reaches whoever starts them."""
    from site_client.accepted_code import check_code

    check_code(layout, clock=lambda: dt.datetime.now(tz=dt.UTC))


def agent_program(layout: SiteLayout, start: Start) -> Program:
    """The record side."""
    isolation = without_network() if start.isolated else ()
    return Program(
        name=AGENT,
        entry="site_client.agent_process:main",
        arguments=(
            "--home", str(layout.folder), "--socket", str(layout.agent_socket), "--gateway-uid", str(start.gateway.user),
            *(["--no-network"] if start.isolated else []),
            *([] if start.warm_studies is None else ["--warm-studies", str(start.warm_studies)]),
        ),
        ready=layout.agent_socket.is_socket,
        prefix=(*isolation, *_becoming(start.agent)),
        environment={name: value for name, value in os.environ.items() if name not in _PROXIES} | QUIET,
    )  # fmt: skip


def gateway_program(layout: SiteLayout, start: Start) -> Program:
    """The network side."""
    home = layout.read()
    words = gateway_arguments(layout, site=home.site, gate=home.gate, port=free_port())
    return Program(
        name=GATEWAY,
        entry="site_client.gateway_process:main",
        arguments=tuple(words),
        ready=lambda: True,
        prefix=_becoming(start.gateway),
        environment=gateway_environment(layout, proxy=start.proxy),
    )


def gateway_arguments(layout: SiteLayout, *, site: str, gate: str, port: int) -> list[str]:
    """Command line of :mod:`site_client.gateway_process`."""
    return [
        "--site", site, "--socket", str(layout.agent_socket), "--files", str(layout.gateway),
        "--superlink", gate, "--port", str(port),
    ]  # fmt: skip


def gateway_environment(layout: SiteLayout, *, proxy: str | None) -> Mapping[str, str]:
    """All that the network side learns of this environment."""
    kept = {name: os.environ[name] for name in _OF_EVERY_PROCESS if name in os.environ}
    state = layout.gateway / "state"
    own = {"HOME": str(state), "FLWR_HOME": str(state / "flwr")}
    return kept | QUIET | own | ({} if proxy is None else {"HTTPS_PROXY": proxy})


def free_port() -> int:
    """A port of loopback that is free now, for the gateway's own use."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def serve(layout: SiteLayout, start: Start) -> None:
    """Run a site in the foreground; SIGTERM and Ctrl-C end it in order."""
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of signal handlers
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    run_site(layout, start, stop=stop)


def prepare_alone(layout: SiteLayout) -> None:
    """What a process that is started singly needs from its own account."""
    if layout.run.parent.stat().st_uid == os.getuid():
        layout.run.mkdir(exist_ok=True)
        share_with_gateway(layout)


def _becoming(account: Account) -> tuple[str, ...]:
    return () if account.user == os.getuid() else account.prefix()
