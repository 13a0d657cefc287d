"""A peer: the same federation as an app of Flower's, in its simulation runtime on Ray, two workers of one processor each.

Plain where the work is plain, with Opacus' hooks in the client where it is private: what Flower's documentation shows.
"""

from __future__ import annotations

import logging
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from experiments.benchmarks.ways.bare_loop import local_steps
from experiments.benchmarks.ways.given import Given, read_given
from federation.models.parameters import Vector, flatten

WORKERS: Final = 2
QUIET: Final = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def run(given: Given, folder: Path) -> tuple[Vector, list[float]]:
    """All rounds.

    Returns:
        The final parameters, and when the aggregation of each round ended.
    """
    from flwr.simulation import run_simulation

    os.environ.update(QUIET)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    ends: list[float] = []
    final: list[Vector] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001 - Flower's signature
        model = given.model()

        def after_round(server_round: int, arrays: ArrayRecord) -> None:  # noqa: ARG001 - Flower's signature
            if server_round > 0:
                ends.append(time.perf_counter())

        sites = given.workload.num_sites
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=sites, min_available_nodes=sites)
        result = strategy.start(
            grid,
            initial_arrays=ArrayRecord(model.state_dict()),
            num_rounds=given.workload.rounds,
            train_config=ConfigRecord({"folder": str(folder)}),
            evaluate_fn=after_round,
        )
        model.load_state_dict(result.arrays.to_torch_state_dict())
        final.append(flatten(model))

    run_simulation(
        server_app=server,
        client_app=_client_app(),
        num_supernodes=given.workload.num_sites,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": WORKERS, "include_dashboard": False, "log_to_driver": False},
        },
    )
    return final[0], ends


@lru_cache(maxsize=1)
def _given(folder: str) -> Given:
    """Read once by every worker process."""
    torch.set_num_threads(1)
    return read_given(Path(folder))


def _client_app() -> ClientApp:
    client = ClientApp()

    @client.train()
    def train(message: Message, context: Context) -> Message:
        config = message.content.config_records["config"]
        given = _given(str(config["folder"]))
        site = int(str(context.node_config["partition-id"]))
        model = given.model()
        model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        features, outcomes = torch.from_numpy(given.features[site]), torch.from_numpy(given.outcomes[site])
        if given.workload.private:
            _train_privately(given, model, features, outcomes)
        else:
            order = torch.from_numpy(given.orders[site, int(str(config["server-round"])) - 1])
            local_steps(model, features, outcomes, order, batch_size=given.workload.batch_size)
        content = RecordDict(
            {
                "arrays": ArrayRecord(model.state_dict()),
                "metrics": MetricRecord({"num-examples": len(outcomes)}),
            }
        )
        return Message(content=content, reply_to=message)

    return client


def _train_privately(given: Given, model: torch.nn.Module, features: torch.Tensor, outcomes: torch.Tensor) -> None:
    from experiments.benchmarks.ways.opacus_loop import hooked_step, private_epoch

    workload = given.workload
    private_epoch(
        hooked_step(model, batch_size=workload.batch_size),
        features,
        outcomes,
        steps=workload.local_steps,
        probability=workload.sampling_probability,
    )
