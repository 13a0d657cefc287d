"""Joining a Ray cluster that runs already, and leaving it as it was.

Any worker may serve any site, and what a site remembers is in its folder. So each machine needs the same code, and the same folders
under the same paths. A copy of them would go unnoticed: the site would forget what it did on another machine. That is looked at on
every machine before a study starts, with one task each.

Flower makes a worker for each processor of the cluster, taken or not, and gives it work at once: a processor that another job has
would make a site wait for that job. So all of them must be free.

Ray is joined here rather than by Flower, which starts the coordinator first: it would wait for workers that never come.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import socket
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from federation.errors import PrivacyRefusedError, TransportError
from federation.study.patient_costs import charges_patients
from site_client.installed_code import Installed, installed_files
from site_client.site_folder import SiteFolder

_PACKAGES: Final = ("flwr", "numpy", "safetensors", "torch")
"""Whose versions decide whether workers understand one another, and give the same bits. Ray looks at its own and at Python's."""
_GUIDE: Final = "docs/ray_engine.md says what a cluster needs"
_KERNEL: Final = Path("/proc/sys/kernel/random/boot_id")
_REACH_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 120.0
"""For one machine; the first task there starts Python."""
_FREE_SECONDS: Final = 30.0
"""A cluster takes back the processors of a job that has ended in about a second: of the seed before, for example."""


@contextmanager
def joined(address: str, folders: Mapping[str, Path], *, environment: Mapping[str, str]) -> Generator[None]:
    """This process as a driver of the cluster; at the end it leaves, and the cluster goes on.

    Args:
        address: ``HOST:PORT``.
        folders: Site to its study folder, absolute.
        environment: Variables of the workers.

    Raises:
        PrivacyRefusedError: If the study is of real patients, or keeps ledgers that several machines would have open.
        TransportError: If the cluster cannot be reached, is at work, or a machine of it cannot do what this one can.
    """
    manifests = [SiteFolder(folder).manifest() for folder in folders.values()]
    if any(manifest.cohort.provenance == "patients" for manifest in manifests):
        raise PrivacyRefusedError(
            "expected synthetic or public records for a Ray cluster, got a cohort of real patients: whoever reaches a cluster's "
            "ports may run code on its machines, and what they send is not encrypted",
            remedy="leave engine.address out, or launch the study over the sites' own agents (docs/consortium.md)",
        )
    _reach(address)
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": dict(environment)},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as failure:
        raise TransportError(
            f"expected to join the Ray cluster at {address}, got {type(failure).__name__}: {failure}",
            remedy=f"run the command on a machine of the cluster, with its Ray, Python and token; {_GUIDE}",
        ) from failure
    try:
        _wait_until_free()
        systems = _check_machines(sorted(folders.values()))
        if len(systems) > 1 and any(charges_patients(manifest) for manifest in manifests):
            raise PrivacyRefusedError(
                f"expected a Ray cluster on one machine for a private study, got {len(systems)} machines: a site's ledger is an "
                "SQLite database with a write-ahead log, which several machines cannot have open at once",
                remedy="leave engine.address out, or set privacy=none",
            )
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Ray itself tries for minutes, and may end the process."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()
    except OSError as failure:
        raise TransportError(
            f"expected a Ray cluster at {address}, nothing answers there ({type(failure).__name__})",
            remedy="start one with `ray start --head`, and give the address that it prints",
        ) from failure


def _wait_until_free() -> None:
    end = time.monotonic() + _FREE_SECONDS
    while True:
        total, free = (float(found.get("CPU", 0)) for found in (ray.cluster_resources(), ray.available_resources()))
        if free >= total >= 1:
            return
        if time.monotonic() > end:
            raise TransportError(
                f"expected a Ray cluster with all of its processors free, got {free:g} of {total:g}",
                remedy=f"wait for the cluster's other jobs, or start a cluster for this study; {_GUIDE}",
            )
        time.sleep(0.2)


@dataclass(frozen=True)
class Machine:
    """What a node of the cluster is and has.

    Args:
        system: Of its kernel since the last start: equal for nodes on one machine, containers too.
        has: Name of a property to its value, which has to be the same everywhere.
    """

    system: str
    has: Mapping[str, str]


def _check_machines(folders: Sequence[Path]) -> set[str]:
    """One task on every node that will have workers; the machines that there are, this one too."""
    marks = {
        str(parent / f".cluster-{secrets.token_hex(8)}"): secrets.token_hex(16)
        for parent in {path.parent for path in folders}
    }
    paths = [str(path) for path in folders]
    try:
        for mark, token in marks.items():
            Path(mark).write_text(token, encoding="utf-8")
        here, there = look(marks, paths), _looked_at(marks, paths)
    finally:
        for mark in marks:
            Path(mark).unlink(missing_ok=True)
    wrong = [f"{node}: {text}" for node, found in there.items() for text in _differences(here, found)]
    if wrong:
        raise TransportError(
            f"expected every machine of the Ray cluster to have what this one has, got {'; '.join(wrong)}",
            remedy=f"install the same there, and choose an output folder that all of them share under the same path; {_GUIDE}",
        )
    return {here.system, *(found.system for found in there.values() if isinstance(found, Machine))}


def _looked_at(marks: dict[str, str], folders: list[str]) -> dict[str, Machine | str]:
    """Node to what it has, or why it did not say."""
    task: Any = ray.remote(num_cpus=0, max_retries=0)(look)
    asked: dict[str, Any] = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1:
            there = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            name = f"{node['NodeManagerAddress']} (node {node['NodeID'][:8]})"
            asked[name] = task.options(scheduling_strategy=there).remote(marks, folders)
    found: dict[str, Machine | str] = {}
    for name, answer in asked.items():
        try:
            found[name] = ray.get(answer, timeout=_LOOK_SECONDS)
        except Exception as failure:  # noqa: BLE001 - whatever that machine cannot do
            found[name] = type(getattr(failure, "cause", None) or failure).__name__
    return found


def _differences(here: Machine, there: Machine | str) -> Iterator[str]:
    if isinstance(there, str):
        yield f"no answer ({there})"
        return
    for name, value in here.has.items():
        if there.has.get(name) != value:
            yield f"{name} {there.has.get(name, 'unknown')} instead of {value}"


def look(marks: Mapping[str, str], folders: Sequence[str]) -> Machine:
    """What decides on the machine where this runs whether it can serve the sites of a study.

    Args:
        marks: File to its content, as the driver has written it beside the sites' folders.
        folders: The sites' folders.
    """
    found = {name: metadata.version(name) for name in _PACKAGES}
    found["python"], found["processor"] = platform.python_version(), platform.machine()
    found["cohortium's code"] = Installed(installed_files(), libraries={}).code[:12]
    for mark, token in marks.items():
        found[f"the folder {Path(mark).parent}"] = "shared" if _text_of(Path(mark)) == token else "another"
    may = os.R_OK | os.W_OK | os.X_OK
    found["folders of sites to write to"] = str(sum(os.access(folder, may) for folder in folders))
    return Machine(_text_of(_KERNEL) or platform.node(), found)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
