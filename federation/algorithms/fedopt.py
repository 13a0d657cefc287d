"""FedAdagrad, FedAdam and FedYogi: adaptive server steps (Reddi et al. 2021, algorithm 2).

Flower and FLamby agree on the moments and differ in the bias correction, so that is an option; the moments start at zero as
in both (the paper starts the second at tau squared).
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from federation.algorithms.fedavg import FederatedAveraging, State, Vector
from federation.algorithms.spec import BiasCorrection

FIRST, SECOND = "first_moment", "second_moment"


class AdaptiveStep(FederatedAveraging):
    """``x + lr m / (sqrt(v) + tau)`` with ``m = beta_1 m + (1 - beta_1) mean_update``; subclasses say what ``v`` is.

    Args:
        server_learning_rate: lr.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment, where the algorithm has one.
        tau: Degree of adaptivity.
        bias_correction: See :data:`~federation.algorithms.spec.BiasCorrection`.
    """

    def __init__(
        self,
        *,
        server_learning_rate: float,
        beta_1: float,
        tau: float,
        beta_2: float = 0.0,
        bias_correction: BiasCorrection = "none",
    ) -> None:
        super().__init__(server_learning_rate=server_learning_rate)
        self.beta_1, self.beta_2, self.tau = beta_1, beta_2, tau
        self.bias_correction: BiasCorrection = bias_correction

    @abstractmethod
    def second_moment(self, previous: Vector, squared: Vector) -> Vector:
        """The next ``v`` from the previous one and the squared mean update."""

    def start_server(self, num_parameters: int) -> State:
        """Both moments are zero."""
        return {FIRST: np.zeros(num_parameters), SECOND: np.zeros(num_parameters)}

    def server_step(
        self, parameters: Vector, *, mean_update: Vector, means: State, server: State, round_number: int
    ) -> tuple[Vector, State]:
        """See the class."""
        del means
        first = self.beta_1 * server[FIRST] + (1 - self.beta_1) * mean_update
        second = self.second_moment(server[SECOND], mean_update**2)
        rate = self.server_learning_rate * self._correction(round_number)
        return parameters + rate * first / (np.sqrt(second) + self.tau), {FIRST: first, SECOND: second}

    def _correction(self, round_number: int) -> float:
        if self.bias_correction == "none":
            return 1.0
        exponent = round_number + 1 if self.bias_correction == "flower" else round_number
        return math.sqrt(1 - self.beta_2**exponent) / (1 - self.beta_1**exponent)


class FedAdagrad(AdaptiveStep):
    """``v + update²``."""

    def second_moment(self, previous: Vector, squared: Vector) -> Vector:
        """See the class."""
        return previous + squared


class FedAdam(AdaptiveStep):
    """``beta_2 v + (1 - beta_2) update²``."""

    def second_moment(self, previous: Vector, squared: Vector) -> Vector:
        """See the class."""
        return self.beta_2 * previous + (1 - self.beta_2) * squared


class FedYogi(AdaptiveStep):
    """``v - (1 - beta_2) update² sign(v - update²)``."""

    def second_moment(self, previous: Vector, squared: Vector) -> Vector:
        """See the class."""
        return previous - (1 - self.beta_2) * squared * np.sign(previous - squared)
