"""``cohortium study launch``, ``status``, ``pause``, ``resume``, ``stop``, ``withdraw`` and ``close``: at the aggregator's host."""

from __future__ import annotations

import datetime as dt
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from aggregator.host.home_paths import DEFAULT_HOME, HOME_VARIABLE

if TYPE_CHECKING:
    from aggregator.host.home_paths import HostLayout
    from aggregator.host.study_place import StudyPlace

_Home = Annotated[Path, typer.Option("--home", envvar=HOME_VARIABLE, help="The aggregator host's folder.")]
_Study = Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study, or the beginning of its digest.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")]
_WATCH_SECONDS = 1.0


def register(study_app: typer.Typer) -> None:
    """Add the commands to ``cohortium study``."""
    for command in (launch, status, pause, resume, stop, withdraw, close):
        study_app.command()(command)


def launch(
    proposal: Annotated[Path, typer.Argument(metavar="PROPOSAL", help="The signed proposal.")],
    approvals: Annotated[list[Path], typer.Argument(metavar="APPROVAL...", help="The sites' signed decisions.")],
    *,
    held_out: Annotated[
        Path | None,
        typer.Option("--held-out", help="Reference records (CSV) for aggregation.masked.held_out_bound, if it is set."),
    ] = None,
    variants: Annotated[
        Path | None, typer.Option("--variants", help="The list of variants (.bim) of an association study.")
    ] = None,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Start a study that its lead has signed and enough sites have approved.

    cohortium study launch proposal.json approvals/*.json
    """
    from aggregator.host.launching import launch as launch_study

    layout = _layout(home)
    place = launch_study(layout, proposal, approvals, now=_now(), held_out=held_out, variants=variants)
    _done(place, "launched", as_json=as_json)


def status(
    study: _Study,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Follow until the study is over.")] = False,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Show who answered, the phase, epsilon per site and the last error.

    cohortium study status heart --watch
    """
    from aggregator.host.launching import find_study
    from aggregator.host.status_table import status_table
    from aggregator.host.study_outcome import is_over, read_outcome
    from aggregator.host.study_status import read_status

    place = find_study(_layout(home), study)
    if as_json:
        found, outcome = read_status(place.status), read_outcome(place)
        facts = {
            "status": None if found is None else found.as_data(),
            "outcome": None if outcome is None else outcome.as_data(),
        }
        typer.echo(json.dumps(facts, indent=1))
        return
    console = Console(highlight=False)
    if not watch:
        console.print(status_table(read_status(place.status), read_outcome(place)))
        return
    with Live(status_table(read_status(place.status), None), console=console, auto_refresh=False) as live:
        while not is_over(place):
            live.update(status_table(read_status(place.status), None), refresh=True)
            time.sleep(_WATCH_SECONDS)
        live.update(status_table(read_status(place.status), read_outcome(place)), refresh=True)


def pause(study: _Study, *, home: _Home = DEFAULT_HOME, as_json: _Json = False) -> None:
    """Pause a study after the round that is under way.

    cohortium study pause heart
    """
    from aggregator.host.launching import pause as pause_study

    place = _found(home, study)
    pause_study(place, now=_now())
    _done(place, "to pause after this round", as_json=as_json)


def resume(study: _Study, *, home: _Home = DEFAULT_HOME, as_json: _Json = False) -> None:
    """Go on after a pause, or after a failure that was mended.

    cohortium study resume heart
    """
    from aggregator.host.launching import resume as resume_study

    place = _found(home, study)
    resume_study(place, now=_now())
    _done(place, "to go on", as_json=as_json)


def stop(study: _Study, *, home: _Home = DEFAULT_HOME, as_json: _Json = False) -> None:
    """End a study now. Finished rounds are kept; `study launch` takes it up again.

    cohortium study stop heart
    """
    from aggregator.host.launching import stop as stop_study

    place = _found(home, study)
    stop_study(place, now=_now())
    _done(place, "to stop", as_json=as_json)


def withdraw(
    study: _Study,
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site to leave out.")],
    *,
    draft: Annotated[
        Path | None, typer.Option("--draft", help="Write the next version's manifest, without the site, here.")
    ] = None,
    from_round: Annotated[
        int | None,
        typer.Option(
            "--from-round",
            min=0,
            help="With --draft: start with the model after this round; 0: anew. Otherwise the last without it.",
        ),
    ] = None,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Leave a site out from now on, list the rounds and models that it has touched, and draft a version without it.

    cohortium study withdraw heart st_mary --draft heart-2.yaml
    """
    from dataclasses import asdict

    from aggregator.host.withdrawal_text import withdrawal_text
    from aggregator.host.withdrawing import chosen_start, what_withdrawal_means, write_draft
    from aggregator.host.withdrawing import withdraw as withdraw_site

    layout = _layout(home)
    place = _found(home, study)
    start = chosen_start(what_withdrawal_means(place, site, layout=layout), from_round)  # before anything is done
    found = withdraw_site(layout, place, site, now=_now())
    if draft is not None:
        write_draft(place, site, draft, after_round=start)
    if as_json:
        drafted = {"draft": None if draft is None else str(draft), "start_round": None if draft is None else start}
        typer.echo(json.dumps(asdict(found) | drafted, indent=1))
    else:
        Console(highlight=False, soft_wrap=True).print(Text(withdrawal_text(found, draft=draft, start=start)))


def close(study: _Study, *, home: _Home = DEFAULT_HOME, as_json: _Json = False) -> None:
    """Put away a study that is over. Its files stay.

    cohortium study close heart
    """
    from aggregator.host.launching import close as close_study

    place = _found(home, study)
    close_study(_layout(home), place, now=_now())
    _done(place, "closed", as_json=as_json)


def _layout(home: Path) -> HostLayout:
    from aggregator.host.home_paths import HostLayout

    layout = HostLayout(home)
    layout.read()
    return layout


def _found(home: Path, study: str) -> StudyPlace:
    from aggregator.host.launching import find_study

    return find_study(_layout(home), study)


def _done(place: StudyPlace, what: str, *, as_json: bool) -> None:
    manifest = place.proposal().proposal.manifest
    if as_json:
        facts = {"study": manifest.study, "version": manifest.version, "digest": manifest.digest, "done": what}
        typer.echo(json.dumps(facts, indent=1))
    else:
        text = f"{manifest.study}, version {manifest.version}: {what}"
        Console(highlight=False, soft_wrap=True).print(Text(text))


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)
