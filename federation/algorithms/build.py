"""From an algorithm's specification to the algorithm."""

from __future__ import annotations

from typing import assert_never

from federation.algorithms.fedavg import FederatedAveraging
from federation.algorithms.fedavgm import FedAvgM
from federation.algorithms.fedopt import FedAdagrad, FedAdam, FedYogi
from federation.algorithms.fedprox import FedProx
from federation.algorithms.scaffold import Scaffold
from federation.algorithms.spec import (
    AlgorithmSpec,
    FedAdagradSpec,
    FedAdamSpec,
    FedAvgMSpec,
    FedAvgSpec,
    FedProxSpec,
    FedYogiSpec,
    ScaffoldSpec,
)


def build_algorithm(spec: AlgorithmSpec) -> FederatedAveraging:
    """The algorithm that ``spec`` describes."""
    rate = spec.server_learning_rate
    match spec:
        case FedAvgSpec():
            return FederatedAveraging(server_learning_rate=rate)
        case FedProxSpec():
            return FedProx(mu=spec.mu, server_learning_rate=rate)
        case ScaffoldSpec():
            return Scaffold(server_learning_rate=rate)
        case FedAvgMSpec():
            return FedAvgM(momentum=spec.momentum, server_learning_rate=rate)
        case FedAdagradSpec():
            return FedAdagrad(server_learning_rate=rate, beta_1=spec.beta_1, tau=spec.tau)
        case FedAdamSpec() | FedYogiSpec():
            step = FedAdam if isinstance(spec, FedAdamSpec) else FedYogi
            return step(
                server_learning_rate=rate,
                beta_1=spec.beta_1,
                beta_2=spec.beta_2,
                tau=spec.tau,
                bias_correction=spec.bias_correction,
            )
        case _:
            assert_never(spec)
