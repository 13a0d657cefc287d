"""FedAvg, and the behaviour that every federated algorithm has.

An algorithm has two halves that must agree, so they live in one class: what a site adds to its gradients and sends besides its
update, and what the aggregator does with the weighted means. All vectors are flat, ``[num_parameters]``; the aggregator's
are float64. A new algorithm is a file beside this one that overrides what differs.

At a site, the correction is applied *after* clipping and noise, so it is post-processing of a private value and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

Vector = NDArray[np.float64]
State = Mapping[str, Vector]
Correction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(gradient, current parameters) to the corrected gradient, all ``[num_parameters]``."""


@dataclass(frozen=True)
class LocalRound:
    """What an algorithm may know of one site's finished round.

    Args:
        update: New minus old parameters, float64.
        num_steps: Local steps taken.
        learning_rate: Local learning rate of the round.
    """

    update: Vector = field(repr=False)
    num_steps: int
    learning_rate: float


class FederatedAveraging:
    """Weighted mean of the sites' updates (McMahan et al. 2017, algorithm 1).

    Args:
        server_learning_rate: Factor on the mean update; 1 is plain averaging.
    """

    def __init__(self, *, server_learning_rate: float = 1.0) -> None:
        self.server_learning_rate = server_learning_rate

    def start_server(self, num_parameters: int) -> State:  # noqa: ARG002 - part of the behaviour
        """The aggregator's state before round 1."""
        return {}

    def broadcast(self, server: State) -> State:  # noqa: ARG002
        """What sites receive besides the global parameters."""
        return {}

    def start_site(self, num_parameters: int) -> State:  # noqa: ARG002
        """A site's own state before its first round. It stays at the site."""
        return {}

    def correction(self, *, start: torch.Tensor, received: State, site: State) -> Correction | None:  # noqa: ARG002
        """What a site does to each gradient before its optimiser sees it; ``None``: nothing.

        Args:
            start: The round's global parameters.
            received: What :meth:`broadcast` sent.
            site: The site's state.
        """
        return None

    def finish_site(self, local: LocalRound, *, received: State, site: State) -> tuple[State, State]:  # noqa: ARG002
        """What a site sends besides its update, and its new state."""
        return {}, {}

    def server_step(
        self, parameters: Vector, *, mean_update: Vector, means: State, server: State, round_number: int
    ) -> tuple[Vector, State]:
        """The next global parameters and aggregator state, from weighted means over the contributors.

        Args:
            parameters: Global parameters of the round.
            mean_update: Weighted mean of the updates.
            means: Weighted means of what :meth:`finish_site` sent.
            server: The aggregator's state.
            round_number: From 1.
        """
        del means, round_number
        return parameters + self.server_learning_rate * mean_update, server
