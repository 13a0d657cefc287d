"""FedAvgM: server momentum (Hsu et al. 2019, section 4.3)."""

from __future__ import annotations

import numpy as np

from federation.algorithms.fedavg import FederatedAveraging, State, Vector

MOMENTUM = "momentum"


class FedAvgM(FederatedAveraging):
    """``v = momentum v + mean_update``; ``x + lr v``. The arithmetic of Flower's FedAvgM, in float64.

    Args:
        momentum: In [0, 1).
        server_learning_rate: Factor on ``v``.
    """

    def __init__(self, *, momentum: float, server_learning_rate: float = 1.0) -> None:
        super().__init__(server_learning_rate=server_learning_rate)
        self.momentum = momentum

    def start_server(self, num_parameters: int) -> State:
        """``v = 0``."""
        return {MOMENTUM: np.zeros(num_parameters)}

    def server_step(
        self, parameters: Vector, *, mean_update: Vector, means: State, server: State, round_number: int
    ) -> tuple[Vector, State]:
        """See the class."""
        del means, round_number
        velocity = self.momentum * server[MOMENTUM] + mean_update
        return parameters + self.server_learning_rate * velocity, {MOMENTUM: velocity}
