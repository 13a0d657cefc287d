"""Networks over time say the same in ONNX, and the check would notice a gate in the wrong place."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from aggregator.release import onnx_layers
from aggregator.release.onnx_graph import export_onnx
from aggregator.release.parity import TOLERANCE, check_parity
from federation.errors import ReleaseRefusedError
from federation.study.manifest import StudyManifest
from tests.aggregator.release.finished_run import random_model
from tests.small_study import manifest_data

SAMPLES = [{"name": f"s{n}", "kind": "continuous", "unit": "mV", "minimum": -5, "maximum": 5} for n in range(2 * 12)]
MODELS = {
    "gru": {"kind": "gru", "signal_shape": [2, 12], "hidden": 5},
    "gru in steps": {"kind": "gru", "signal_shape": [2, 12], "hidden": 3, "step_samples": 4},
    "gru, one step": {"kind": "gru", "signal_shape": [2, 12], "hidden": 3, "step_samples": 12},
    "cnn1d": {"kind": "cnn1d", "signal_shape": [2, 12], "channels": [4, 6], "kernel": 5},
    "cnn1d, no pooling": {
        "kind": "cnn1d",
        "signal_shape": [2, 12],
        "channels": [4],
        "pooling": 1,
        "activation": "gelu",
    },
    "cnn1d, group": {"kind": "cnn1d", "signal_shape": [2, 12], "channels": [4], "normalisation": "group"},
    "cnn1d, layer": {"kind": "cnn1d", "signal_shape": [2, 12], "channels": [3], "normalisation": "layer", "pooling": 5},
    "cnn1d, batch": {"kind": "cnn1d", "signal_shape": [2, 12], "channels": [3], "normalisation": "batch"},
}


def _study(model: object) -> StudyManifest:
    contract = {
        "name": "c",
        "patient_key": "patient",
        "variables": SAMPLES,
        "outcome": {"name": "ill", "kind": "binary"},
    }
    return StudyManifest.from_data(manifest_data(contract=contract, model=model))


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_says_what_the_model_says(name: str) -> None:
    subject = random_model(_study(MODELS[name]))
    assert check_parity(export_onnx(subject), subject).largest_difference < TOLERANCE


def test_gates_in_another_order_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = random_model(_study(MODELS["gru"]))
    right = np.concatenate
    monkeypatch.setattr(onnx_layers.np, "concatenate", lambda parts: right(parts[::-1]))
    with pytest.raises(ReleaseRefusedError):
        check_parity(export_onnx(subject), subject)
