"""The held-out gate's rule: is a round's model good enough to keep, or is the round rolled back?

The consortium measures the model on records that no site trains on. That works where single updates are hidden, since it looks
at the sum's effect alone. It judges by a loss and not by AUROC: an attack that multiplies every parameter leaves AUROC as it
was and ruins every predicted risk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregator.checkpoints import CoordinatorState
from federation.checks import not_negative
from federation.data.prepared_features import PreparedFeatures
from federation.errors import ConfigurationError, InvalidInputError
from federation.study.manifest import StudyManifest

HeldOutLoss = Callable[[NDArray[np.float32], PreparedFeatures | None], float]
"""Mean loss of parameters on records that no site trains on."""


@dataclass(frozen=True)
class GateDecision:
    """Whether a model is kept, and why, in words for the report."""

    kept: bool
    reason: str


def judge(candidate: float, *, kept_losses: Sequence[float], bound: float) -> GateDecision:
    """Compare a model's held-out loss with the best of the models that were kept.

    The best, not the last: otherwise an attacker who stays below the bound in every round moves the model as far as they like.

    Args:
        candidate: Mean loss of the new model on the held-out records; NaN or infinity is refused.
        kept_losses: Of the initial model and of every model kept so far, in any order; finite.
        bound: How much worse than the best of them a model may be, in the loss's unit. Public, and wide enough for the
            noise of a private study.

    Raises:
        InvalidInputError: If there is nothing to compare with, or the bound is negative.
    """
    not_negative(bound=bound)
    if not kept_losses or not all(math.isfinite(loss) for loss in kept_losses):
        raise InvalidInputError(
            f"expected the finite loss of at least the initial model, got {list(kept_losses)}",
            remedy="evaluate the initial model before round 1",
        )
    best = min(kept_losses)
    if not math.isfinite(candidate):
        return GateDecision(kept=False, reason="held-out loss is not finite")
    if candidate > best + bound:
        return GateDecision(
            kept=False,
            reason=f"held-out loss {candidate:.4g} is more than {bound:g} above the best so far ({best:.4g})",
        )
    return GateDecision(kept=True, reason=f"held-out loss {candidate:.4g}, best so far {min(best, candidate):.4g}")


@dataclass(frozen=True)
class HeldOutGate:
    """The gate of one study.

    Args:
        bound: Of the manifest; ``None``: every round passes.
        loss: On the aggregator's held-out records; needed with a bound.
        prepared: The public map of the features, if the study pays for one.
    """

    bound: float | None
    loss: HeldOutLoss | None
    prepared: PreparedFeatures | None

    @classmethod
    def of(cls, study: StudyManifest, loss: HeldOutLoss | None, prepared: PreparedFeatures | None) -> HeldOutGate:
        """The gate that the manifest asks for.

        Raises:
            ConfigurationError: If it asks for one and nobody holds records out.
        """
        masked = study.aggregation.masked
        bound = None if masked is None else masked.held_out_bound
        if bound is not None and loss is None:
            raise ConfigurationError(
                "expected held-out records at the aggregator for aggregation.masked.held_out_bound, got none",
                remedy="give the coordinator public reference records, or leave the bound out",
            )
        return cls(bound=bound, loss=loss, prepared=prepared)

    def pass_on(self, before: CoordinatorState, after: CoordinatorState) -> tuple[CoordinatorState, str]:
        """The state to go on with: the new one, or the old parameters if the new ones are too bad.

        What sites released in the round is charged and counted either way.

        Returns:
            The state, and why the round was rolled back; empty if it was not.
        """
        if self.bound is None or self.loss is None:
            return after, ""
        kept = before.kept_losses or (self._loss(before),)
        candidate = self._loss(after)
        decision = judge(candidate, kept_losses=kept, bound=self.bound)
        if decision.kept:
            return replace(after, kept_losses=(min((*kept, candidate)),)), ""
        back = replace(after, parameters=before.parameters, server=before.server, kept_losses=(min(kept),))
        return back, decision.reason

    def _loss(self, state: CoordinatorState) -> float:
        if self.loss is None:
            raise InvalidInputError("expected held-out records, got none")
        return self.loss(state.parameters.astype(np.float32), self.prepared)
