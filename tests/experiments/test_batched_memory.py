"""`engine.memory_mib` bounds what the sites of a simulation take, measured in processes of their own."""

from __future__ import annotations

import pytest

from tests.peak_memory import grown_mib

_ROUNDS = """
import sys, tempfile
from pathlib import Path
import torch
from tests.experiments.batched_study import MODELS, PRIVACY, batched_sites, data_of, run_engine, study
from tests.peak_memory import peak_mib
from tests.small_study import private

kind, memory, patients, sites = sys.argv[1], *map(int, sys.argv[2:5])
MODELS["wide"] = {"kind": "mlp", "hidden": [96, 96], "activation": "relu"}
PRIVACY["private"] = private(probability=0.5, steps=2)
model, most = {"one": ("wide", 1), "several": ("mlp", 5)}[kind]
def run(sizes, memory):
    schedule = {"rounds": 2, "local_steps": 1, "batch_size": 256, "optimiser": {"learning_rate": 0.1}}
    manifest = study(model=model, privacy="private", sizes=sizes, schedule=schedule, evaluation={"release": "none"})
    data = data_of(manifest, most=most, sizes=sizes)
    sites = batched_sites(manifest, data, device="cpu", num_workers=1, memory_mib=memory)
    before = peak_mib()
    run_engine(manifest, sites, Path(tempfile.mkdtemp()))
    sites.close()
    return peak_mib() - before
torch.set_num_threads(1)
run({"a": 9, "b": 8, "c": 7}, 16)
print(run({f"site-{n}": patients for n in range(sites)}, memory))
"""


@pytest.mark.parametrize(("kind", "patients", "sites"), [("one", 300, 250), ("several", 320, 30)])
def test_a_simulation_takes_no_more_than_it_may(kind: str, patients: int, sites: int) -> None:
    """Patients of one record, in a chain, and of several, where every pair of records counts."""
    small, large = (grown_mib(_ROUNDS, kind, memory, patients, sites) for memory in (64, 1024))
    assert small < 64 * 1.25, "allocation leaves gaps"
    assert 2.5 * small < large < 1024
