"""A study's model as one ONNX graph, from records in the contract's terms to scores. Home of onnx.

The graph is put together from the few layers that :mod:`federation.models.build` knows, and holds the encoding too: its input
``record`` is ``[R, V]`` float64, one column for each of the contract's variables, in their order and units; binary variables as 0
or 1, coded ones as the index of their level, NaN for a missing value. A value that the contract does not let be missing makes
the score NaN. What is outside a variable's plausible range is not refused here: whoever feeds the graph checks records.

Its output ``score`` is the probability of outcome 1 ``[R]``, class probabilities ``[R, K]``, the prediction in the outcome's unit
``[R]`` float64, the expected count ``[R]``, quantiles in the outcome's unit ``[R, K]`` float64, probabilities to be event-free at
each edge ``[R, K]``, or log relative hazards ``[R]`` (Cox).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from aggregator.release.feature_table import FeatureTable, feature_table
from aggregator.release.onnx_scores import add_counts, add_decoded, add_survival
from federation.errors import MissingDependencyError, ReleaseRefusedError
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, QuantileTerms
from federation.study.model_file import StudyModel

if TYPE_CHECKING:
    from torch import nn

OPSET: Final = 20
_IR_VERSION: Final = 9
_FLOAT, _DOUBLE, _BOOL = 1, 11, 9
"""Of ``TensorProto.DataType``."""


def export_onnx(model: StudyModel) -> bytes:
    """The graph's bytes.

    Raises:
        ReleaseRefusedError: If the study scaled features by each site's own patients: no graph can do that elsewhere.
        MissingDependencyError: If onnx is not installed.
    """
    manifest = model.manifest
    if manifest.preprocessing != "public_ranges":
        raise ReleaseRefusedError(
            f"expected preprocessing by public facts, got {manifest.preprocessing!r}",
            remedy="the model reads features that each site scaled by its own patients; it cannot be used elsewhere",
        )
    graph = _Graph()
    features = _encoding(graph, feature_table(manifest.contract), model)
    outputs = _network(graph, features, model.module())
    _scores(graph, outputs, model)
    return graph.to_bytes(
        name=manifest.study,
        width=len(manifest.contract.variables),
        output=_DOUBLE if manifest.task in {"regression", "quantile"} else _FLOAT,
        rank=2
        if manifest.task in {"multiclass", "quantile"} or isinstance(manifest.task_terms, DiscreteTimeTerms)
        else 1,
        notes={
            "cohortium.manifest_digest": manifest.digest,
            "cohortium.variables": json.dumps([variable.as_data() for variable in manifest.contract.variables]),
            "cohortium.outcome": json.dumps(manifest.contract.outcome.as_data()),
        },
    )


class _Graph:
    """Nodes and constants in the order in which they were added; every node has one output."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as failure:
            raise MissingDependencyError(
                "expected the package 'onnx', it is not installed", remedy="pip install 'cohortium[aggregator]'"
            ) from failure
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: NDArray[Any]) -> str:
        """Name of a new constant."""
        name = f"c{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:  # noqa: ANN401 - onnx's own
        """Add a node.

        Returns:
            Name of its output.
        """
        name = output or f"n{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), [name], name=f"/{name}", **attributes))
        return name

    def to_bytes(self, *, name: str, width: int, output: int, rank: int, notes: dict[str, str]) -> bytes:
        """The whole model, checked by onnx's own checker."""
        helper = self._onnx.helper
        shape: Sequence[str | None] = ["records"] if rank == 1 else ["records", None]
        model = helper.make_model(
            helper.make_graph(
                self._nodes,
                name,
                [helper.make_tensor_value_info("record", _DOUBLE, ["records", width])],
                [helper.make_tensor_value_info("score", output, shape)],
                self._constants,
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="cohortium",
        )
        model.ir_version = _IR_VERSION
        helper.set_model_props(model, notes)
        self._onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def _encoding(graph: _Graph, table: FeatureTable, model: StudyModel) -> str:
    """Features ``[R, F]`` float32, by the same operations in float64, in the same order, as the sites' encoding."""
    is_missing = graph.add("IsNaN", "record")
    filled = graph.add("Where", is_missing, graph.constant(table.imputed), "record")
    column = graph.constant(table.column)
    cells = graph.add("Gather", filled, column, axis=1)
    scaled = graph.add("Mul", cells, graph.constant(table.times))
    for operator, values in (("Sub", table.minus), ("Div", table.over), ("Sub", table.then_minus)):
        scaled = graph.add(operator, scaled, graph.constant(values))
    levels = graph.add("Cast", graph.add("Equal", cells, graph.constant(table.level)), to=_DOUBLE)
    nothing = graph.add("Sub", cells, cells)  # 0, or NaN where a value is missing that may not be
    levels = graph.add("Add", levels, nothing)
    missing = graph.add("Gather", graph.add("Cast", is_missing, to=_DOUBLE), column, axis=1)
    features = graph.add("Where", graph.constant(table.is_level), levels, scaled)
    features = graph.add("Where", graph.constant(table.is_indicator), missing, features)
    features = graph.add("Cast", features, to=_FLOAT)
    if model.prepared is None:
        return features
    prepared = model.prepared
    wide = graph.add("Cast", features, to=_DOUBLE)
    centred = graph.add("Sub", wide, graph.constant(np.array(prepared.centre)))
    moved = graph.add("Div", centred, graph.constant(np.array(prepared.spread)))
    bound = np.float64(prepared.limit)
    clipped = graph.add("Clip", moved, graph.constant(np.array(-bound)), graph.constant(np.array(bound)))
    kept = graph.add("Mul", clipped, graph.constant(np.array(prepared.keep, dtype=np.float64)))
    kept = graph.add("Add", kept, graph.add("Sub", wide, wide))  # clipping must not hide a NaN
    return graph.add("Cast", kept, to=_FLOAT)


def _network(graph: _Graph, features: str, module: nn.Module) -> str:
    from aggregator.release.onnx_layers import add_layer

    name = features
    for layer in module.children():
        name = add_layer(graph, name, layer)
    return name


def _scores(graph: _Graph, outputs: str, model: StudyModel) -> None:
    contract = model.manifest.contract
    match model.manifest.objective:
        case "count":
            add_counts(graph, _flat(graph, outputs))
        case QuantileTerms():
            add_decoded(graph, outputs, contract)
        case DiscreteTimeTerms() as terms:
            add_survival(graph, outputs, terms)
        case CoxTerms():
            graph.add("Identity", _flat(graph, outputs), output="score")
        case "multiclass":
            graph.add("Softmax", outputs, output="score", axis=1)
        case "binary":
            graph.add("Sigmoid", _flat(graph, outputs), output="score")
        case "regression":
            add_decoded(graph, _flat(graph, outputs), contract)


def _flat(graph: _Graph, outputs: str) -> str:
    return graph.add("Squeeze", outputs, graph.constant(np.array([1], dtype=np.int64)))
