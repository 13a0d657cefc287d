"""Losses of survival models: hazards of public intervals, and the partial likelihood of a batch.

An outcome is one number, ``+(1 + time)`` for an event and ``-(1 + time)`` for the end of follow-up without one, so that it passes
through everything that a class or a count passes through (:mod:`federation.data.survival`).

Axis names: R records, K intervals.
"""

from __future__ import annotations

from typing import Final, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from federation.models.task_terms import DiscreteTimeTerms

LARGEST_LOG_HAZARD: Final = 60.0
"""Outputs beyond it, on either side, count as this: their exponentials are finite and not zero in float32."""


def discrete_time_losses(terms: DiscreteTimeTerms, outputs: Tensor, outcomes: Tensor) -> Tensor:
    """Negative log-likelihood of each record (Prentice & Gloeckler 1978, equation 3; Gensheimer & Narasimhan 2019, equation 3).

    Intervals are closed on the left: time ``t`` lies in interval k if ``edges[k - 1] <= t < edges[k]``. Whoever leaves follow-up
    in an interval counts as event-free up to its beginning; what happens at the last edge or later, as event-free there.

    Args:
        terms: Edges and kind of hazard.
        outputs: ``[R, K]``: log-log or logit of each interval's hazard.
        outcomes: ``[R]``, encoded as the module says.

    Returns:
        ``[R]`` in nats.
    """
    survived, event = _intervals(terms, outputs, outcomes)
    match terms.hazard:
        case "logistic":
            return (survived * functional.softplus(outputs) + event * functional.softplus(-outputs)).sum(dim=-1)
        case "cloglog":
            rate = _bounded(outputs).exp()
            return (survived * rate - event * torch.log(-torch.expm1(-rate))).sum(dim=-1)
        case _:
            assert_never(terms.hazard)


def discrete_time_gradients(terms: DiscreteTimeTerms, outputs: Tensor, outcomes: Tensor) -> Tensor:
    """:func:`discrete_time_losses` differentiated by the outputs ``[..., K]``."""
    survived, event = _intervals(terms, outputs, outcomes)
    match terms.hazard:
        case "logistic":
            return survived * torch.sigmoid(outputs) - event * torch.sigmoid(-outputs)
        case "cloglog":
            rate = _bounded(outputs).exp()
            inside = (outputs.abs() <= LARGEST_LOG_HAZARD).to(outputs.dtype)
            return (survived * rate - event * rate / torch.expm1(rate)) * inside
        case _:
            assert_never(terms.hazard)


def survival_probabilities(terms: DiscreteTimeTerms, outputs: Tensor) -> Tensor:
    """``[R, K]`` probability to be event-free at each edge."""
    match terms.hazard:
        case "logistic":
            log_kept = -functional.softplus(outputs)
        case "cloglog":
            log_kept = -_bounded(outputs).exp()
        case _:
            assert_never(terms.hazard)
    return log_kept.cumsum(dim=-1).exp()


def cox_loss(outputs: Tensor, outcomes: Tensor) -> Tensor:
    """Negative partial log-likelihood of a batch over its number of records (Cox 1972), as FLamby's ``fed_tcga_brca`` has it.

    Every event is compared with the batch's records of the same or a later time. Of records with the same time, each one's risk set
    holds those before it in the batch: FLamby sorts and adds up, which is Breslow's likelihood only where no times are tied.

    Args:
        outputs: ``[R, 1]`` log relative hazards.
        outcomes: ``[R]``, encoded as the module says.

    Returns:
        A number; it depends on all records together.
    """
    order = torch.argsort(outcomes.abs(), descending=True, stable=True)
    score, is_event = outputs[order, 0], (outcomes[order] > 0).to(outputs.dtype)
    return (is_event * (torch.logcumsumexp(score, dim=0) - score)).sum() / len(outcomes)


def _intervals(terms: DiscreteTimeTerms, outputs: Tensor, outcomes: Tensor) -> tuple[Tensor, Tensor]:
    """``[..., K]`` whether an interval was survived, and whether the event was in it, as numbers."""
    # The same rounding as the encoded times: a time equal to an edge stays equal.
    edges = (1 + torch.tensor(terms.edges, dtype=torch.float64)).to(torch.float32).to(outcomes.device)
    place = torch.bucketize(outcomes.to(torch.float32).abs().contiguous(), edges, right=True).unsqueeze(-1)
    intervals = torch.arange(len(terms.edges), device=outcomes.device)
    survived = (intervals < place).to(outputs.dtype)
    event = ((intervals == place) & (outcomes > 0).unsqueeze(-1)).to(outputs.dtype)
    return survived, event


def _bounded(outputs: Tensor) -> Tensor:
    return outputs.clamp(min=-LARGEST_LOG_HAZARD, max=LARGEST_LOG_HAZARD)
