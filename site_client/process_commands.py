"""``cohortium site start, agent, gateway, status, pause, resume, stop, prepare, support-bundle``: the site's two processes."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from federation.errors import InvalidInputError
from site_client.home_paths import DEFAULT_HOME, HOME_VARIABLE, SiteLayout

_Home = Annotated[Path, typer.Option("--home", envvar=HOME_VARIABLE, help="The site's home folder.")]
_Proxy = Annotated[
    str | None,
    typer.Option("--proxy", envvar=["HTTPS_PROXY", "https_proxy"], help="HTTP proxy to the gate: http://host:port."),
]
_Study = Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Digest or short name. Otherwise all studies.")]
_Warm = Annotated[
    int | None,
    typer.Option("--warm-studies", min=1, help="Studies whose patients are in memory at the same time. Otherwise 4."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``cohortium site``."""
    app.command("start")(start)
    app.command("agent")(agent)
    app.command("gateway")(gateway)
    app.command("status")(status)
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("stop")(stop)
    app.command("prepare")(prepare)
    app.command("support-bundle")(support_bundle)


def start(
    *,
    home: _Home = DEFAULT_HOME,
    agent_user: Annotated[
        str | None, typer.Option("--agent-user", help="Account of the process with the records. Needs root.")
    ] = None,
    gateway_user: Annotated[
        str | None, typer.Option("--gateway-user", help="Account of the process with the network. Needs root.")
    ] = None,
    one_user: Annotated[
        bool, typer.Option("--one-user", help="Run both as root, for trying out: nothing keeps them apart.")
    ] = False,
    with_network: Annotated[
        bool,
        typer.Option("--with-network", help="Leave the agent a network. It never uses it; nothing enforces that then."),
    ] = False,
    warm_studies: _Warm = None,
    proxy: _Proxy = None,
) -> None:
    """Start agent and gateway, and watch them until this command is stopped.

    cohortium site start --agent-user cohortium-agent --gateway-user cohortium-gateway
    """
    from site_client.event_log import log_to_stderr
    from site_client.site_processes import Start, serve

    log_to_stderr()
    chosen = Start.chosen(
        agent_user=agent_user, gateway_user=gateway_user, one_user=one_user, isolated=not with_network, proxy=proxy
    )
    serve(SiteLayout(home), replace(chosen, warm_studies=warm_studies))


def agent(
    *,
    home: _Home = DEFAULT_HOME,
    gateway_user: Annotated[
        str | None, typer.Option("--gateway-user", help="The only account that is answered. Otherwise this one.")
    ] = None,
    no_network: Annotated[
        bool, typer.Option("--no-network", help="Refuse to run where a network can be reached.")
    ] = False,
    warm_studies: _Warm = None,
) -> None:
    """Run the agent alone, for systemd and containers.

    cohortium site agent --gateway-user cohortium-gateway --no-network
    """
    from site_client import agent_process
    from site_client.accounts import Account
    from site_client.site_processes import prepare_alone

    layout = SiteLayout(home)
    layout.read()
    prepare_alone(layout)
    peer = os.getuid() if gateway_user is None else Account.named(gateway_user).user
    words = ["--home", str(layout.folder), "--socket", str(layout.agent_socket), "--gateway-uid", str(peer)]
    words += [] if warm_studies is None else ["--warm-studies", str(warm_studies)]
    agent_process.main([*words, *(["--no-network"] if no_network else [])])


def gateway(
    *,
    site: Annotated[str, typer.Option("--site", envvar="COHORTIUM_SITE_NAME", help="Short name of this site.")],
    gate: Annotated[str, typer.Option("--gate", envvar="COHORTIUM_GATE", help="The gate: host:port.")],
    home: _Home = DEFAULT_HOME,
    port: Annotated[
        int | None, typer.Option("--port", help="Port on loopback for its own use. Otherwise a free one.")
    ] = None,
    proxy: _Proxy = None,
) -> None:
    """Run the gateway alone, for systemd and containers. It reads nothing but its own folder.

    cohortium site gateway --site st_mary --gate gate.example.org:8443
    """
    from site_client.site_processes import free_port, gateway_arguments, gateway_environment

    layout = SiteLayout(home)
    words = gateway_arguments(layout, site=site, gate=gate, port=port or free_port())
    environment = dict(gateway_environment(layout, proxy=proxy))
    # A new program, because Flower reads its settings when it is loaded, and so that nothing else of the environment is there.
    command = [sys.executable, "-m", "site_client.gateway_process", *words]
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter and our own module


def status(*, home: _Home = DEFAULT_HOME, as_json: _Json = False) -> None:
    """Show processes, studies, what they did and what is spent.

    cohortium site status
    """
    from site_client.site_status import site_status
    from site_client.status_table import show_status

    found = site_status(SiteLayout(home), now=_now())
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
    else:
        show_status(found, console=Console(highlight=False))


def pause(study: _Study = None, *, home: _Home = DEFAULT_HOME, as_json: _Json = False) -> None:
    """Refuse every request of one study, or of all, from now on. Counts at once; nothing is lost.

    cohortium site pause
    """
    from site_client import pausing

    layout = SiteLayout(home)
    digest = _digest_of(layout, study)
    _record(layout, "paused", digest)
    pausing.pause(layout, digest)
    _say_paused(layout, as_json=as_json)


def resume(study: _Study = None, *, home: _Home = DEFAULT_HOME, as_json: _Json = False) -> None:
    """Answer the requests of one study, or of all, again.

    cohortium site resume
    """
    from site_client import pausing

    layout = SiteLayout(home)
    digest = _digest_of(layout, study)
    _record(layout, "resumed", digest)
    pausing.resume(layout, digest)
    _say_paused(layout, as_json=as_json)


def stop(*, home: _Home = DEFAULT_HOME, as_json: _Json = False) -> None:
    """Stop agent and gateway. What is under way is asked for again when they are back.

    cohortium site stop
    """
    from site_client.running import stop_site

    process = stop_site(SiteLayout(home))
    typer.echo(json.dumps({"stopped": process}) if as_json else f"stopped (process {process})")


def prepare(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Digest or short name of an approved study.")],
    *,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Read and encode a study's patients now, from a database that is reached over a network, which the agent has not.

    cohortium site prepare heart_disease
    """
    from site_client.permission import Permissions
    from site_client.study_agents import prepare_patients

    layout = SiteLayout(home)
    own = layout.read()
    digest = _digest_of(layout, study) or ""
    proposal = Permissions(layout, own).check(digest, training=False, now=_now())
    path = prepare_patients(layout, proposal.manifest, site=own.site, now=_now())
    typer.echo(json.dumps({"study": digest, "file": str(path)}) if as_json else f"prepared: {path}")


def support_bundle(
    *,
    home: _Home = DEFAULT_HOME,
    output: Annotated[Path, typer.Option("--output", help="Where to write it.")] = Path("cohortium-support.tar.gz"),
    proxy: _Proxy = None,
    as_json: _Json = False,
) -> None:
    """Write a file for whoever helps: versions, checks, event lines of the logs. No patient's data, no key.

    cohortium site support-bundle --output support.tar.gz
    """
    from site_client.doctor import check_site, detect_side
    from site_client.support_bundle import write_support_bundle

    layout = SiteLayout(home)
    now = _now()
    checks = check_site(layout, side=detect_side(layout), site=None, gate=None, proxy=proxy or None, now=now)
    names = write_support_bundle(layout, output, checks=checks, now=now)
    if as_json:
        typer.echo(json.dumps({"file": str(output), "holds": names}))
    else:
        typer.echo(f"{output}: {', '.join(names)}. Look into it before you send it.")


def _digest_of(layout: SiteLayout, study: str | None) -> str | None:
    """The digest of a study that was proposed here; ``None`` stays ``None``."""
    from site_client.study_papers import StudyPapers

    if study is None:
        return None
    manifests = [signed.proposal.manifest for signed in StudyPapers(layout).proposals()]
    found = [manifest.digest for manifest in manifests if study in (manifest.digest, manifest.study)]
    if not found:
        raise InvalidInputError(
            f"expected a study that was proposed to this site, got {study!r}",
            remedy=f"one of {sorted({manifest.study for manifest in manifests})}; see `cohortium site status`",
        )
    return found[-1]  # the last version


def _record(layout: SiteLayout, event: str, study: str | None) -> None:
    """Into the audit log, before it is done."""
    from federation.governance.audit import AuditEvent
    from federation.governance.audit_log import AuditLog
    from site_client.ledger.key_file import read_key

    site, key = layout.read().site, read_key(layout.identity_key.with_suffix(""))
    if key is None:
        raise InvalidInputError(f"expected the site's key at {layout.identity_key}, got none", remedy="enrol the site")
    with AuditLog(layout.audit, log=site, key=key, clock=_now) as log:
        log.record(AuditEvent.from_data({"event": event, "actor": f"uid{os.getuid()}", "study": study}))


def _say_paused(layout: SiteLayout, *, as_json: bool) -> None:
    from site_client.pausing import read_paused

    paused = read_paused(layout)
    if as_json:
        typer.echo(paused.model_dump_json())
    elif paused.everything:
        typer.echo("paused: every study")
    else:
        typer.echo("paused: " + (", ".join(paused.studies) or "nothing"))


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)
