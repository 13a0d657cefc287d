"""A deployed study beside its simulation: one manifest, one seed, all in one process; the same model and the same charges."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping
from pathlib import Path

import torch

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.engines.inline import InlineTransport
from experiments.rehearsal.charges import charges
from federation.errors import StudyError
from federation.governance.proposals import Proposal
from federation.privacy.randomness import seeded_streams
from federation.study.model_file import read_model
from site_client.agent import SiteAgent
from site_client.extraction import extract
from site_client.site_folder import SiteFolder, write_patients
from site_client.sources.mapping import read_mapping
from site_client.sources.tables import TableSource


def compare(
    proposal: Proposal, *, study: Path, homes: Mapping[str, Path], mappings: Mapping[str, Path], place: Path
) -> tuple[str, ...]:
    """Simulate what was deployed, and hold the two beside each other, bit for bit.

    Args:
        proposal: Of the study, with a test seed.
        study: Its folder at the aggregator's host.
        homes: Each site's folder, for its identity and its ledger.
        mappings: Each site's mapping, beside its records.
        place: For the simulation's own files.

    Returns:
        What was found, in lines for people.

    Raises:
        StudyError: If the models or the charges differ.
    """
    torch.set_num_threads(1)
    manifest, seed = proposal.manifest, proposal.test_seed
    agents = {
        site: SiteAgent(_site(proposal, site, mapping=mapping, home=homes[site], place=place / site))
        for site, mapping in mappings.items()
    }
    result = run_study(
        manifest,
        InlineTransport({site: agent.handle for site, agent in agents.items()}),
        NullTracker(),
        checkpoints=CheckpointStore(place / "coordinator", study=manifest.digest),
        clock=itertools.count().__next__,
        on_round=lambda _: None,
        streams=None if seed is None else seeded_streams(seed, provenance=manifest.cohort.provenance),
    )
    deployed = read_model((study / "model.safetensors").read_bytes(), manifest)
    if deployed.parameters.tobytes() != result.parameters.tobytes():
        raise StudyError("expected the deployed model to equal the simulated one bit for bit, they differ")
    for site, home in homes.items():
        found = charges(home / "ledger.sqlite", study=manifest.digest)
        due = charges(place / site / "ledger.sqlite", study=manifest.digest)
        if found != due or not due:
            raise StudyError(f"expected {site} to be charged {sorted(due)}, each once, got {sorted(found)}")
    return (
        "every ledger holds the charges of the simulation, each once",
        "the deployed model equals the simulated one, bit for bit",
    )


def _site(proposal: Proposal, site: str, *, mapping: Path, home: Path, place: Path) -> SiteFolder:
    manifest = proposal.manifest
    extracted = extract(
        TableSource(read_mapping(mapping), folder=mapping.parent),
        site=site,
        contract=manifest.contract,
        definition=manifest.cohort,
        task=manifest.task,
        preprocessing=manifest.preprocessing,
        today=dt.datetime.now(tz=dt.UTC).date(),
    )
    write_patients(place / "patients.safetensors", extracted.data)
    return SiteFolder.create(
        place,
        site=site,
        manifest=manifest,
        patients=place / "patients.safetensors",
        seed=proposal.test_seed,
        identity=home / "identity",
    )
