from __future__ import annotations

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.audit.shadow_training import train_study
from experiments.engines.inline import InlineTransport
from federation.privacy.randomness import seeded_streams
from site_client.agent import SiteAgent
from tests.small_study import SITES, manifest, private, site_data, site_folders


@pytest.mark.parametrize("algorithm", [{"kind": "fedavg"}, {"kind": "scaffold"}, {"kind": "fedadam"}])
def test_it_trains_what_real_agents_train(algorithm: dict[str, object], tmp_path) -> None:
    study = manifest(algorithm=algorithm, privacy=private())
    agents = {site: SiteAgent(folder).handle for site, folder in site_folders(tmp_path, study, seed=7).items()}
    real = run_study(
        study,
        InlineTransport(agents),
        NullTracker(),
        checkpoints=CheckpointStore(tmp_path / "coordinator", study=study.digest),
        clock=lambda: 0.0,
        on_round=lambda result: None,
    )
    found = train_study(
        study,
        {site: site_data(site).training for site in SITES},
        streams=seeded_streams(7, provenance="synthetic"),
    )
    # What travels is float32; the sum is of float64 updates here, so the last bits may differ.
    np.testing.assert_allclose(found, real.parameters, rtol=0, atol=1e-5)
    assert np.abs(found).max() > 0.01


def test_other_patients_or_other_streams_give_another_model() -> None:
    study = manifest(privacy=private())
    patients = {site: site_data(site).training for site in SITES}
    fewer = {site: data.patients(np.arange(20)) for site, data in patients.items()}
    models = [
        train_study(study, data, streams=seeded_streams(seed, provenance="synthetic"))
        for data, seed in ((patients, 1), (patients, 1), (patients, 2), (fewer, 1))
    ]
    np.testing.assert_array_equal(models[0], models[1])
    assert not np.array_equal(models[0], models[2])
    assert not np.array_equal(models[0], models[3])
