"""SCAFFOLD: control variates correct the drift of sites that differ (Karimireddy et al. 2020, algorithm 1, option II).

The sites' control variates are means of their own (already private) gradients, so under patient-level privacy everything sent is
post-processing of what the mechanism released.
"""

from __future__ import annotations

import numpy as np
import torch

from federation.algorithms.fedavg import Correction, FederatedAveraging, LocalRound, State, Vector

CONTROL = "control"
CONTROL_CHANGE = "control_change"


class Scaffold(FederatedAveraging):
    """FedAvg whose sites add ``c - c_i`` to each gradient.

    ``c`` is the weighted mean of the sites' ``c_i`` with the same public weights as the updates, so that the correction vanishes in
    the mean of the objective that is minimised.
    """

    def start_server(self, num_parameters: int) -> State:
        """``c = 0``."""
        return {CONTROL: np.zeros(num_parameters)}

    def broadcast(self, server: State) -> State:
        """Sites receive ``c``."""
        return {CONTROL: server[CONTROL]}

    def start_site(self, num_parameters: int) -> State:
        """``c_i = 0``."""
        return {CONTROL: np.zeros(num_parameters)}

    def correction(self, *, start: torch.Tensor, received: State, site: State) -> Correction:
        """Add ``c - c_i`` to the gradient."""
        shift = torch.from_numpy(received[CONTROL] - site[CONTROL]).to(start)
        return lambda gradient, parameters: gradient + shift  # noqa: ARG005 - part of the behaviour

    def finish_site(self, local: LocalRound, *, received: State, site: State) -> tuple[State, State]:
        """``c_i+ = c_i - c + (x - y_i) / (K lr)``; the change of ``c_i`` is sent."""
        mean_gradient = -local.update / (local.num_steps * local.learning_rate)
        control = site[CONTROL] - received[CONTROL] + mean_gradient
        return {CONTROL_CHANGE: control - site[CONTROL]}, {CONTROL: control}

    def server_step(
        self, parameters: Vector, *, mean_update: Vector, means: State, server: State, round_number: int
    ) -> tuple[Vector, State]:
        """``x + lr mean_update`` and ``c +`` the mean change."""
        stepped, _ = super().server_step(
            parameters, mean_update=mean_update, means=means, server=server, round_number=round_number
        )
        return stepped, {CONTROL: server[CONTROL] + means[CONTROL_CHANGE]}
