"""Our server steps against Flower's strategies, round by round, on the same updates."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAdagrad as FlowerAdagrad
from flwr.serverapp.strategy import FedAdam as FlowerAdam
from flwr.serverapp.strategy import FedAvg as FlowerAvg
from flwr.serverapp.strategy import FedAvgM as FlowerAvgM
from flwr.serverapp.strategy import FedYogi as FlowerYogi
from flwr.supercore.task_identity import TaskIdentity
from pydantic import TypeAdapter

from aggregator.rounds import WeightedFold
from federation.algorithms.build import build_algorithm
from federation.algorithms.spec import AlgorithmSpec


@pytest.fixture(autouse=True)
def task_identity(monkeypatch):
    """Flower lets only its own tasks make messages."""
    for name in ("_run_id", "_task_id", "_node_id"):
        if hasattr(TaskIdentity, name):
            monkeypatch.setattr(TaskIdentity, name, 1)


SPEC = TypeAdapter(AlgorithmSpec)
D, ROUNDS = 11, 6


def updates(seed=3):
    """[rounds, sites, D] updates and [sites] patient counts."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(ROUNDS, 3, D)) * 0.1, np.array([10, 25, 7])


def ours(spec, rounds, counts, start):
    algorithm = build_algorithm(SPEC.validate_python(spec))
    parameters, server = start.copy(), algorithm.start_server(D)
    path = []
    for number, row in enumerate(rounds, start=1):
        fold = WeightedFold(num_parameters=D)
        for site, (update, count) in enumerate(zip(row, counts, strict=True)):
            fold.add(f"site{site}", {"update": update}, weight=float(count))
        parameters, server = algorithm.server_step(
            parameters, mean_update=fold.means()["update"], means={}, server=server, round_number=number
        )
        path.append(parameters)
    return np.array(path)


def flowers(strategy, rounds, counts, start):
    current, path = start.copy(), []
    for number, row in enumerate(rounds, start=1):
        if hasattr(strategy, "current_arrays"):
            strategy.current_arrays = (
                ArrayRecord({"p": Array(current)}) if isinstance(strategy, FlowerAvgM) else {"p": current}
            )
        replies = []
        for update, count in zip(row, counts, strict=True):
            request = Message(RecordDict({"config": ConfigRecord({})}), dst_node_id=1, message_type="train")
            content = RecordDict(
                {
                    "arrays": ArrayRecord({"p": Array(current + update)}),
                    "metrics": MetricRecord({"num-examples": int(count)}),
                }
            )
            replies.append(Message(content, reply_to=request))
        arrays, _ = strategy.aggregate_train(number, replies)
        current = arrays["p"].numpy().astype(np.float64)
        path.append(current)
    return np.array(path)


CASES = [
    ({"kind": "fedavg"}, FlowerAvg),
    ({"kind": "fedavgm", "momentum": 0.8, "server_learning_rate": 0.7},
     lambda: FlowerAvgM(server_learning_rate=0.7, server_momentum=0.8)),
    ({"kind": "fedadagrad", "server_learning_rate": 0.05, "tau": 0.01},
     lambda: FlowerAdagrad(eta=0.05, tau=0.01)),
    ({"kind": "fedadam", "server_learning_rate": 0.05, "tau": 0.01, "bias_correction": "flower"},
     lambda: FlowerAdam(eta=0.05, tau=0.01, beta_1=0.9, beta_2=0.99)),
    ({"kind": "fedyogi", "server_learning_rate": 0.05, "tau": 0.01},
     lambda: FlowerYogi(eta=0.05, tau=0.01, beta_1=0.9, beta_2=0.99)),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "strategy"), CASES, ids=[case[0]["kind"] for case in CASES])
def test_server_step_equals_flowers_strategy_round_by_round(spec, strategy):
    rounds, counts = updates()
    start = np.linspace(-1, 1, D)
    mine, theirs = ours(spec, rounds, counts, start), flowers(strategy(), rounds, counts, start)
    np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)
    assert not np.allclose(mine[-1], start)


@pytest.mark.parametrize("correction", ["none", "adam"])
def test_bias_correction_of_fedadam_differs_from_flowers(correction):
    rounds, counts = updates()
    start = np.zeros(D)
    base = {"kind": "fedadam", "server_learning_rate": 0.05, "tau": 0.01}
    mine = ours({**base, "bias_correction": correction}, rounds, counts, start)
    theirs = flowers(FlowerAdam(eta=0.05, tau=0.01, beta_1=0.9, beta_2=0.99), rounds, counts, start)
    assert not np.allclose(mine, theirs, rtol=1e-3)


def test_adam_bias_correction_equals_torch_adam_on_one_parameter_vector():
    torch = pytest.importorskip("torch")
    rounds, counts = updates()
    mine = ours(
        {"kind": "fedadam", "server_learning_rate": 0.05, "tau": 1e-12, "bias_correction": "adam"},
        rounds, counts, np.zeros(D),
    )  # fmt: skip
    parameter = torch.zeros(D, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([parameter], lr=0.05, betas=(0.9, 0.99), eps=1e-12)
    path = []
    for row in rounds:
        parameter.grad = -torch.from_numpy(np.average(row, axis=0, weights=counts))
        optimiser.step()
        path.append(parameter.detach().numpy().copy())
    np.testing.assert_allclose(mine, np.array(path), rtol=1e-6)
