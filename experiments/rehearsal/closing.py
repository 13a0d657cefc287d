"""After the study: release, verification, local scoring, audit logs that agree, and the same model from a simulation."""

from __future__ import annotations

import shutil
from pathlib import Path

from conf.received_files import read_received
from experiments.rehearsal.comparison import compare
from experiments.rehearsal.consortium import Rehearsal
from federation.errors import StudyError
from federation.governance.proposals import SignedProposal


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
    homes = {site: rehearsal.sites_home(site) for site in rehearsal.sites}
    for line in compare(
        proposal, study=study, homes=homes, mappings=rehearsal.records.mappings, place=rehearsal.folder / "simulation"
    ):
        rehearsal.console.print(line)
    return (study / "report.html").relative_to(rehearsal.folder)
