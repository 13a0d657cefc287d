"""What `cohortium aggregator status` shows: from the running host if there is one, and from files otherwise."""

from __future__ import annotations

import json
from dataclasses import dataclass

from aggregator.host.health import ask
from aggregator.host.home_paths import HostLayout
from aggregator.host.host import running_process
from aggregator.host.study_place import launched_studies
from aggregator.host.study_status import read_status
from federation.errors import CohortiumError


@dataclass(frozen=True)
class HostStatus:
    """What was found, as data."""

    facts: dict[str, object]
    problems: list[str]


def host_status(layout: HostLayout) -> HostStatus:
    """Look at a host from another process.

    Raises:
        InvalidInputError: If the folder is no host's.
    """
    home = layout.read()
    process = running_process(layout)
    facts: dict[str, object] = {"home": str(layout.folder), "gate": home.gate, "process": process, "processes": {}}
    problems: list[str] = []
    if process is None:
        problems.append("no host runs here: start it with `cohortium aggregator start`")
    else:
        _, text = ask(home.health_port)
        health = _as_dict(text)
        facts |= {name: health[name] for name in ("processes", "members", "revocations") if name in health}
        reported = health.get("problems", ["the host does not answer on its health port"])
        problems += [str(problem) for problem in reported] if isinstance(reported, list) else []
    facts["studies"] = _studies(layout, problems)
    facts["problems"] = problems
    return HostStatus(facts=facts, problems=problems)


def _studies(layout: HostLayout, problems: list[str]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for place in launched_studies(layout):
        try:
            status = read_status(place.status)
        except CohortiumError as failure:
            problems.append(f"study {place.folder.name[:16]}: {failure.message}")
            continue
        if status is None:
            found.append({"study": place.folder.name[:16], "version": "", "phase": "launched", "rounds": ""})
            continue
        rounds = f"{status.rounds_complete}/{status.rounds}"
        found.append({"study": status.study, "version": str(status.version), "phase": status.phase, "rounds": rounds})
        if status.phase in ("failed", "waiting"):
            problems.append(f"study {status.study} is {status.phase}: {status.last_error}")
    return found


def _as_dict(text: str) -> dict[str, object]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
