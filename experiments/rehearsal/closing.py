"""After the study: release, verification, local scoring, audit logs that agree, and the same model from a simulation."""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
from pathlib import Path

import torch

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from conf.received_files import read_received
from experiments.engines.inline import InlineTransport
from experiments.rehearsal.charges import charges
from experiments.rehearsal.consortium import Rehearsal
from federation.errors import StudyError
from federation.governance.proposals import Proposal, SignedProposal
from federation.privacy.randomness import seeded_streams
from federation.study.model_file import read_model
from site_client.agent import SiteAgent
from site_client.extraction import extract
from site_client.site_folder import SiteFolder, write_patients
from site_client.sources.mapping import read_mapping
from site_client.sources.tables import TableSource


def close_out(rehearsal: Rehearsal) -> Path:
    """Release, verify, score, compare logs, and compare with the simulation.

    Returns:
        The report, relative to the rehearsal's folder.

    Raises:
        StudyError: If anything does not hold.
    """
    lead, host = rehearsal.lead, rehearsal.host
    proposal = read_received(lead.folder / "proposal.json", SignedProposal, error=StudyError).proposal
    study = rehearsal.folder / "aggregator" / "studies" / proposal.manifest.digest.removeprefix("sha256:")
    lead.run("study", "release", str(study), "--key", "lead.key", "-o", "release")
    lead.run("study", "verify-release", "release", "--proposal", "proposal.json")
    host.run("aggregator", "audit", "verify")
    host.run("aggregator", "audit", "export", "-o", "coordinator-audit.json")
    for site, terminal in rehearsal.sites.items():
        terminal.run("site", "stop")
        shutil.copytree(lead.folder / "release", terminal.folder / "release")
        mapping = str(rehearsal.records.mappings[site])
        terminal.run("site", "score", "release", "--mapping", mapping, "--proposal", "proposal.json")
        shutil.copy(host.folder / "coordinator-audit.json", terminal.folder / "coordinator-audit.json")
        terminal.run("site", "audit", "verify", "--against", "coordinator-audit.json")
        terminal.run("site", "ledger", "verify", str(rehearsal.sites_home(site) / "ledger.sqlite"))
    lead.run("study", "close", proposal.manifest.study)
    host.run("aggregator", "stop")
    _compare(rehearsal, proposal, study)
    return (study / "report.html").relative_to(rehearsal.folder)


def _compare(rehearsal: Rehearsal, proposal: Proposal, study: Path) -> None:
    """The deployed model is the simulated one, bit for bit, and costs the same: one manifest, one seed, all in one process."""
    torch.set_num_threads(1)
    manifest, seed, place = proposal.manifest, proposal.test_seed, rehearsal.folder / "simulation"
    agents: dict[str, SiteAgent] = {}
    for site, mapping in rehearsal.records.mappings.items():
        extracted = extract(
            TableSource(read_mapping(mapping), folder=mapping.parent),
            site=site,
            contract=manifest.contract,
            definition=manifest.cohort,
            task=manifest.task,
            preprocessing=manifest.preprocessing,
            today=dt.datetime.now(tz=dt.UTC).date(),
        )
        write_patients(place / site / "patients.safetensors", extracted.data)
        folder = SiteFolder.create(
            place / site,
            site=site,
            manifest=manifest,
            patients=place / site / "patients.safetensors",
            seed=seed,
            identity=rehearsal.sites_home(site) / "identity",
        )
        agents[site] = SiteAgent(folder)
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
    for site in rehearsal.sites:
        found = charges(rehearsal.sites_home(site) / "ledger.sqlite", study=manifest.digest)
        due = charges(place / site / "ledger.sqlite", study=manifest.digest)
        if found != due or not due:
            raise StudyError(f"expected {site} to be charged {sorted(due)}, each once, got {sorted(found)}")
    rehearsal.console.print("every ledger holds the charges of the simulation, each once")
    rehearsal.console.print("the deployed model equals the simulated one, bit for bit")
