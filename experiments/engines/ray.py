"""The `ray` engine: Flower's simulation runtime, with the same coordinator, agents and messages as every other engine.

Sites run as virtual SuperNodes in Ray worker processes; what a site remembers is in its folder, so any worker can serve it. The
workers are this machine's, or those of a cluster (:mod:`experiments.engines.ray_cluster`). Requests, replies and the names of
folders go through Ray; records do not.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from federation.errors import CohortiumError, InternalError, MissingDependencyError

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.clientapp import ClientApp

    from aggregator.transport import Transport
    from federation.study.result import StudyResult

QUIET: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
}
"""The environment of this process and of the workers: nobody is told, and sums do not depend on the number of cores."""
_WORKERS: Final = 2


def run_with_ray(
    folders: Mapping[str, Path],
    run: Callable[[Transport], StudyResult],
    *,
    num_workers: int | None = None,
    address: str | None = None,
    deadline_seconds: float = 3600.0,
) -> StudyResult:
    """Run a study in Flower's simulation runtime.

    Args:
        folders: Site to its study folder.
        run: What to do with the transport: the coordinator's call.
        num_workers: Ray worker processes on this machine, one CPU each; ``None``: two. Of no meaning with ``address``.
        address: ``HOST:PORT`` of a cluster to join, which has a worker for each of its CPUs; ``None``: a Ray of its own.
        deadline_seconds: How long a site may take to answer.

    Returns:
        What ``run`` returned.

    Raises:
        MissingDependencyError: If Ray is not installed.
        PrivacyRefusedError: If a cluster is not to have this study (:func:`experiments.engines.ray_cluster.joined`).
        TransportError: If the cluster cannot be reached, or one of its machines cannot do what this one can.
        CohortiumError: Whatever ``run`` raised.
    """
    os.environ.update(QUIET)  # before Flower and Ray are imported: both read these at import
    try:
        import ray  # noqa: F401  # pyright: ignore[reportUnusedImport] - is it there?
        from flwr.serverapp import ServerApp
        from flwr.simulation import run_simulation
    except ImportError as failure:
        raise MissingDependencyError(
            "expected Ray and Flower's simulation runtime for engine=ray, they are not installed",
            remedy="pip install 'cohortium[simulation]', or use engine=inline",
        ) from failure
    from aggregator.app import GridTransport
    from experiments.engines.ray_cluster import joined

    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    outcome: list[StudyResult | BaseException] = []
    server = ServerApp()

    @server.main()
    def main(grid: Any, context: Context) -> None:  # noqa: ANN401, ARG001 - Flower's signature
        try:
            transport = GridTransport(grid, sites=tuple(folders), deadline_seconds=deadline_seconds)
            outcome.append(run(transport))
        except BaseException as failure:  # noqa: BLE001 - carried to the caller's thread and raised there
            outcome.append(failure)

    paths = {site: path.resolve() for site, path in folders.items()}  # a worker may have another working directory
    with nullcontext() if address is None else joined(address, paths, environment=QUIET):
        run_simulation(
            server_app=server,
            client_app=_client_app({site: str(path) for site, path in paths.items()}),
            num_supernodes=len(folders),
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                "init_args": _own_ray(num_workers or _WORKERS),  # not looked at where Ray is joined already
            },
        )
    return _returned(outcome)


def _own_ray(num_workers: int) -> dict[str, Any]:
    """Ray's settings on this machine alone; ``local``, or it would join whatever RAY_ADDRESS or the last `ray start` names."""
    return {"address": "local", "num_cpus": num_workers, "include_dashboard": False, "log_to_driver": False}


def _returned(outcome: list[StudyResult | BaseException]) -> StudyResult:
    if not outcome:
        raise InternalError("expected Flower's simulation runtime to run the coordinator, it ended without")
    result = outcome[0]
    if isinstance(result, CohortiumError | KeyboardInterrupt):
        raise result
    if isinstance(result, BaseException):
        raise InternalError(f"the coordinator failed in engine=ray: {type(result).__name__}") from result
    return result


def _client_app(folders: dict[str, str]) -> ClientApp:
    from site_client.gateway.app import forwarding_app

    names = tuple(folders)

    def site_of(context: Context) -> str:
        return names[int(context.node_config["partition-id"])]

    def handler_of(site: str) -> Callable[[bytes], bytes]:
        return _agent_handler(folders[site])

    return forwarding_app(site_of=site_of, handler_of=handler_of)


@lru_cache(maxsize=64)
def _agent_handler(folder: str) -> Callable[[bytes], bytes]:
    """One agent per site and worker process; torch on one thread, so that sums do not depend on the number of cores."""
    import torch

    from site_client.agent import SiteAgent
    from site_client.site_folder import SiteFolder

    torch.set_num_threads(1)
    return SiteAgent(SiteFolder(Path(folder))).handle
