"""FedProx: a proximal term keeps local parameters near the global ones (Li et al. 2020, eq. 2)."""

from __future__ import annotations

import torch

from federation.algorithms.fedavg import Correction, FederatedAveraging, State


class FedProx(FederatedAveraging):
    """FedAvg whose sites minimise their loss plus ``mu / 2`` times the squared distance from the global parameters.

    Args:
        mu: Weight of the proximal term; 0 is FedAvg.
        server_learning_rate: As in FedAvg.
    """

    def __init__(self, *, mu: float, server_learning_rate: float = 1.0) -> None:
        super().__init__(server_learning_rate=server_learning_rate)
        self.mu = mu

    def correction(self, *, start: torch.Tensor, received: State, site: State) -> Correction:
        """Add ``mu (parameters - start)`` to the gradient."""
        del received, site
        return lambda gradient, parameters: gradient + self.mu * (parameters - start)
