"""Memory of private steps: flat in the number of patients drawn, with a million parameters and large records."""

from __future__ import annotations

from tests.peak_memory import grown_mib

FEATURES = 2**16
PARAMETERS = 16 * FEATURES
_STEPS = f"""
import sys
import numpy as np
import torch
from federation.models.build import build_model
from federation.models.spec import MlpSpec
from federation.privacy.calibration import sampling_numerator_of
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import seeded_streams
from federation.study.schedule import Schedule
from site_client.patients import PatientDataset
from site_client.training import train_locally
from tests.peak_memory import peak_mib

def train(drawn):
    patients = 2 * drawn
    data = PatientDataset(  # zeros that are only read take no memory
        np.zeros((patients, {FEATURES}), np.float32), np.ones(patients, np.float32), np.arange(patients), range({FEATURES})
    )
    mechanism = MechanismSpec(
        clipping_norm=1.0, noise_multiplier=1.0, sampling_numerator=sampling_numerator_of(0.5), divisor=float(drawn),
        steps_per_round=2, rounds=1,
    )
    schedule = Schedule.from_data(
        {{"rounds": 1, "local_steps": 2, "batch_size": 8, "optimiser": {{"learning_rate": 0.1}}}}
    )
    streams = seeded_streams(7, provenance="synthetic")
    before = peak_mib()
    train_locally(
        model, data, task="binary", schedule=schedule, round_number=1, streams=streams, mechanism=mechanism
    )
    print(peak_mib() - before)

torch.set_num_threads(1)
model = build_model(
    MlpSpec(kind="mlp", hidden=(16,)), task="binary", num_features={FEATURES}, num_outputs=1, private=True
)
train(int(sys.argv[1]))
"""


def test_memory_does_not_grow_with_the_patients_drawn() -> None:
    few, many, most = (grown_mib(_STEPS, drawn) for drawn in (64, 640, 1280))
    of_parameters = 40 * PARAMETERS / 2**20  # parameters, gradient, what is released; sums in float64
    whole = 640 * FEATURES * 12 / 2**20  # features, and once more in float64
    assert few < 140 + of_parameters, "it draws no more than a pass of 96"
    in_pieces = 60  # what the allocator leaves between arrays as large as these
    assert many < 256 + in_pieces + of_parameters < whole, "passes of 256 MiB"
    assert most - many < in_pieces, "and no more for twice as many"
