"""Whether the exported graph says what the study's model says, on generated patients. Home of onnxruntime.

Patients are drawn from the contract alone: its ranges with their ends, its levels, missing values where they may be missing. They
are the same every time, so that a release can be checked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.data.contract import (
    Binary,
    Categorical,
    Continuous,
    DataContract,
    ImputeMissing,
    Integer,
    Ordinal,
    Variable,
)
from federation.data.encoding import decode_outcome, encode_features
from federation.errors import MissingDependencyError, ReleaseRefusedError
from federation.governance.releases import Parity
from federation.privacy.randomness import RandomStreams, public_streams
from federation.study.model_file import StudyModel

FloatArray = NDArray[np.float64]

PATIENTS: Final = 1000
TOLERANCE: Final = 1e-5
"""Of a probability, or of a prediction in half widths of the outcome's range: some rounding of float32, and nothing else."""
_MISSING: Final = 0.2
_PARITY_SEED: Final = 1


def check_parity(graph: bytes, model: StudyModel, *, patients: int = PATIENTS) -> Parity:
    """Compare graph and model.

    Args:
        graph: Of :func:`aggregator.release.onnx_graph.export_onnx`.
        model: Of the study.
        patients: To generate.

    Raises:
        ReleaseRefusedError: If any score differs by more than the tolerance, or is not a number.
    """
    contract = model.manifest.contract
    values = generated_patients(contract, patients)
    expected = model_scores(model, values)
    found = run_graph(graph, np.stack([values[variable.name] for variable in contract.variables], axis=1))
    difference = np.inf
    if found.shape == expected.shape and np.isfinite(expected).all() and np.isfinite(found).all():
        difference = float(np.abs(found - expected).max() / _unit(model))
    if not difference <= TOLERANCE:
        raise ReleaseRefusedError(
            f"expected the ONNX model to say what the study's model says within {TOLERANCE:g} on {patients} generated "
            f"patients, got a difference of {difference:.3g}",
            remedy="do not release it: the export is wrong. Report a bug with the manifest, which holds no patient",
            largest_difference=difference,
        )
    return Parity(patients=patients, largest_difference=difference, tolerance=TOLERANCE)


def model_scores(model: StudyModel, values: Mapping[str, FloatArray]) -> FloatArray:
    """What a site computes: encoding, map of the features, network, score; predictions in the outcome's unit."""
    import torch

    from federation.models.losses import scores

    manifest = model.manifest
    features = encode_features(manifest.contract, values)
    if model.prepared is not None:
        features = model.prepared.apply(features)
    with torch.no_grad():
        found = scores(manifest.objective, model.module()(torch.tensor(features))).numpy()
    return (
        decode_outcome(manifest.contract, found)
        if manifest.task in {"regression", "quantile"}
        else found.astype(np.float64)
    )


def run_graph(graph: bytes, records: FloatArray) -> FloatArray:
    """Scores of ``[R, V]`` records by onnxruntime, as float64."""
    try:
        import onnxruntime
    except ImportError as failure:
        raise MissingDependencyError(
            "expected the package 'onnxruntime', it is not installed", remedy="pip install 'cohortium[aggregator]'"
        ) from failure
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["score"], {"record": records})[0], dtype=np.float64)


def generated_patients(contract: DataContract, number: int) -> dict[str, FloatArray]:
    """Values of patients that do not exist: by variable ``[number]`` float64, in the terms of records."""
    streams = public_streams("release-parity", _PARITY_SEED)
    return {variable.name: _drawn(variable, number, streams) for variable in contract.variables}


def _drawn(variable: Variable, number: int, streams: RandomStreams) -> FloatArray:
    stream = streams.stream(variable.name)
    match variable:
        case Continuous():
            values = stream.uniform(variable.minimum, variable.maximum, number)
            values[::10] = variable.minimum
            values[5::10] = variable.maximum
        case Integer():
            values = stream.integers(int(variable.minimum), int(variable.maximum) + 1, number).astype(np.float64)
        case Binary():
            values = stream.integers(0, 2, number).astype(np.float64)
        case Categorical() | Ordinal():
            values = stream.integers(0, len(variable.levels), number).astype(np.float64)
    if isinstance(variable.missing, ImputeMissing):
        values = np.where(stream.random(number) < _MISSING, np.nan, values)
    return values


def _unit(model: StudyModel) -> float:
    if model.manifest.task not in {"regression", "quantile"}:
        return 1.0
    zero, one = decode_outcome(model.manifest.contract, np.array([0.0, 1.0]))
    return float(one - zero)
