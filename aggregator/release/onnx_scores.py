"""What a network says, as the last nodes of an ONNX graph: counts, quantiles and survival."""

from __future__ import annotations

from typing import Final

import numpy as np

from aggregator.release.onnx_layers import GraphBuilder
from federation.data.contract import DataContract
from federation.data.encoding import decode_outcome
from federation.models.count_loss import LARGEST_LOG_RATE
from federation.models.survival_loss import LARGEST_LOG_HAZARD
from federation.models.task_terms import DiscreteTimeTerms

_DOUBLE: Final = 11
"""ONNX' number of the type."""


def add_counts(graph: GraphBuilder, outputs: str) -> None:
    """``[R]`` expected counts from their logarithms."""
    graph.add("Exp", graph.add("Min", outputs, graph.constant(np.array(LARGEST_LOG_RATE, np.float32))), output="score")


def add_decoded(graph: GraphBuilder, outputs: str, contract: DataContract) -> None:
    """Predictions in the outcome's unit, in float64, of any shape."""
    location, edge = decode_outcome(contract, np.array([0.0, 1.0]))
    wide = graph.add("Cast", outputs, to=_DOUBLE)
    stretched = graph.add("Mul", wide, graph.constant(np.array(edge - location)))
    graph.add("Add", stretched, graph.constant(np.array(location)), output="score")


def add_survival(graph: GraphBuilder, outputs: str, terms: DiscreteTimeTerms) -> None:
    """``[R, K]`` probabilities to be event-free at each edge."""
    if terms.hazard == "logistic":
        rate = graph.add("Softplus", outputs)
    else:
        bound = (graph.constant(np.array(sign * LARGEST_LOG_HAZARD, np.float32)) for sign in (-1, 1))
        rate = graph.add("Exp", graph.add("Clip", outputs, *bound))
    total = graph.add("CumSum", rate, graph.constant(np.array(1, dtype=np.int64)))
    graph.add("Exp", graph.add("Neg", total), output="score")
