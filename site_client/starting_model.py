"""Round 1 starts with the model that was agreed on: the public initial parameters, or the model that an amendment names.

A coordinator that began with another model could have made it from anything, such as to remember one patient. What later rounds are
sent depends on other sites and cannot be checked alone; secure sums make sure that all sites were sent the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from federation.errors import PrivacyRefusedError
from federation.governance.proposals import Proposal
from federation.models.parameters import initial_parameters

Vector = NDArray[np.float32]
CheckStart = Callable[[nn.Module, Vector], None]
"""(model that gives the layout, parameters of round 1), raises if they are others than agreed."""

_ROUNDING: Final = 1e-6
"""Machines may round the last bit of a float32 apart; nothing can be hidden in it that training would keep."""


def agreed_start(proposal: Proposal) -> CheckStart:
    """Checks the parameters of round 1 of a proposal's study.

    Args:
        proposal: Approved here.
    """
    if proposal.start is not None:
        return partial(_check_named, named=proposal.start.model)
    return partial(_check_initial, seed=proposal.manifest.initial_seed)


def _check_named(model: nn.Module, parameters: Vector, *, named: str) -> None:  # noqa: ARG001 - as agreed
    found = "sha256:" + hashlib.sha256(parameters.astype("<f4").tobytes()).hexdigest()
    if found != named:
        raise _refused(f"the model {named} that the amendment names, got {found}")


def _check_initial(model: nn.Module, parameters: Vector, *, seed: int) -> None:
    if not np.allclose(parameters, initial_parameters(model, seed=seed), rtol=_ROUNDING, atol=_ROUNDING):
        raise _refused(f"the public initial parameters of seed {seed}, got others")


def _refused(what: str) -> PrivacyRefusedError:
    return PrivacyRefusedError(
        f"expected round 1 to start with {what}",
        remedy="tell the lead and the consortium: the coordinator sent another model than was agreed on",
        reason="starting_model",
    )
