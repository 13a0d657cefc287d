"""How long and in which steps a study trains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from federation.documents import Document
from federation.study.augmentation import AugmentationSpec


class OptimiserSpec(Document):
    """The optimiser of the local steps."""

    kind: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """SGD only."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Adam only."""
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Adam only."""


class Schedule(Document):
    """Rounds, local steps and what a step is."""

    rounds: Annotated[int, Field(ge=1, le=100_000)]
    local_steps: Annotated[int, Field(ge=1, le=1_000_000)]
    """Optimiser steps at every site in every round: the same public number at all sites."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Patients a step, without replacement, in plain training. Private training samples by probability instead."""
    optimiser: OptimiserSpec
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    """Evaluate the global model every that many rounds, and after the last."""
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The local learning rate of round r is multiplied by this to the power r - 1."""

    augmentation: Annotated[AugmentationSpec, Field(exclude_if=lambda spec: not spec.is_on)] = AugmentationSpec()
    """How training images are changed at random. Off, the field is not in the canonical bytes, so that a manifest has the digest
    that it had before there was augmentation."""

    def learning_rate_of(self, round_number: int) -> float:
        """Local learning rate of a round, from 1."""
        return self.optimiser.learning_rate * self.learning_rate_decay ** (round_number - 1)
