"""An enrolled site in a temporary folder with records, a policy and an approved study, and a coordinator that signs requests."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import numpy as np

from federation.governance.audit_log import AuditLog
from federation.governance.proposals import Approval, Proposal, SignedApproval, SignedProposal
from federation.models.build import build_model
from federation.models.parameters import initial_parameters
from federation.protocol.authenticated import Opened, open_reply, sign_request
from federation.protocol.messages import Envelope, EvaluateRequest, Refusal, TrainRequest, read_envelope
from federation.protocol.signatures import SigningKey
from site_client.home_paths import SiteLayout
from site_client.hospital import Hospital
from site_client.keystore import identity_key
from site_client.site_home import SiteHome
from site_client.study_agents import StudyAgents
from site_client.study_papers import StudyPapers
from tests.small_study import FEATURES, SITES, manifest

LEAD, COORDINATOR, STRANGER = (SigningKey.from_bytes(bytes([number]) * 32) for number in (101, 102, 103))
OTHERS = {site: SigningKey.from_bytes(bytes([110 + n]) * 32) for n, site in enumerate(SITES) if site != "north"}
START = initial_parameters(
    build_model(manifest().model, task="binary", num_features=FEATURES, num_outputs=1, private=False), seed=0
)
"""Public parameters with which round 1 starts."""
NOW = dt.datetime(2026, 11, 25, 12, 0, tzinfo=dt.UTC)
POLICY = """
allowed_leads: [{lead}]
allowed_provenance: [synthetic]
allowed_tasks: [binary]
allowed_models: [linear]
allowed_aggregation: [plain]
allowed_privacy: [none, patient_level]
allowed_noise: [local]
allowed_releases: [none, sum, per_site]
allow_test_seed: true
max_records_per_patient: 100
min_training_patients: 1
epsilon_cap_per_study: 10.0
max_delta: 0.01
min_noise_multiplier: 0.0
max_sampling_probability: 1.0
max_rounds: 100
min_sites: 2
min_threshold_fraction: 0.0
min_other_approvals: 0
min_known_sites: 0
training_hours: "00:00-24:00"
training_days: [mon, tue, wed, thu, fri, sat, sun]
"""


def write_records(path: Path, *, patients: int = 60, name: str = "p") -> None:
    generator = np.random.default_rng(5)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["patient", *(f"x{n}" for n in range(FEATURES)), "died"])
        for number in range(patients):
            values = generator.uniform(-1, 1, FEATURES)
            writer.writerow([f"{name}{number}", *(f"{value:.4f}" for value in values), int(values.sum() > 0)])


def write_mapping(folder: Path, *, site: str = "north") -> Path:
    columns = "\n".join(f"  x{n}: {{column: x{n}, unit: dimensionless}}" for n in range(FEATURES))
    path = folder / "mapping.yaml"
    path.write_text(
        f"site: {site}\n"
        "source: {kind: csv, path: records.csv}\npatient_key: {column: patient}\n"
        f"variables:\n{columns}\n  died: {{column: died, codes: {{0: 0, 1: 1}}}}\n"
    )
    return path


class Site:
    """The site `north`, from enrolment to an approved study."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.layout = SiteLayout(folder / "home")
        self.now = NOW
        self.key = identity_key(self.layout)
        self.layout.write(
            SiteHome(
                consortium="cardio",
                site="north",
                gate="gate.example.org:8443",
                coordinator_key=COORDINATOR.public_key,
                authority_fingerprint="ab" * 32,
            )
        )
        self.layout.policy.write_text(POLICY.format(lead=f"'{LEAD.public_key}'"))
        records = folder / "records"
        records.mkdir(parents=True)
        write_records(records / "records.csv")
        self.layout.mapping.write_text(f"mapping: {write_mapping(records)}\n")
        self.papers = StudyPapers(self.layout)
        self.signed = self.proposal(**changes)
        self.papers.keep_proposal(self.signed)

    @property
    def study(self) -> str:
        return self.signed.proposal.manifest.digest

    def proposal(self, *, lead: SigningKey = LEAD, needed: int = 1, expires: str | None = None, **changes: object):
        keys = {"north": self.key.public_key} | {site: key.public_key for site, key in OTHERS.items()}
        roster = [{"site": site, "weight": 1.0, "training_patients": 40, "public_key": keys[site]} for site in SITES]
        data = {
            "manifest": manifest(roster=roster, **changes).as_data(),
            "lead": lead.public_key,
            "coordinator": changes.pop("coordinator", COORDINATOR.public_key),
            "approvals_needed": needed,
            "expires": expires,
            "test_seed": 7,
        }
        return SignedProposal.signed(Proposal.from_data(data), lead)

    def decision(self, site: str, decision: str = "approve", *, number: int = 1) -> SignedApproval:
        approval = Approval.from_data(
            {
                "proposal": self.signed.proposal.digest,
                "site": site,
                "decision": decision,
                "officer": "Dr. Example",
                "time": self.now.isoformat(),
                "number": number,
            }
        )
        return SignedApproval.signed(approval, self.key if site == "north" else OTHERS[site])

    def approve(self, *sites: str) -> None:
        for site in sites or ("north", "south"):
            decision = self.decision(site)
            if site == "north":
                self.papers.keep_own(decision)
            else:
                path = self.layout.approval(decision.approval.proposal).with_suffix("") / f"{site}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(decision.model_dump_json())

    def log(self) -> AuditLog:
        return AuditLog(self.layout.audit, log="north", key=self.key, clock=self.clock)

    def clock(self) -> dt.datetime:
        return self.now

    def hospital(self, agents: object = None) -> Hospital:
        return Hospital(
            self.layout,
            key=self.key,
            log=self.log(),
            agents=agents or StudyAgents(self.layout, "north", clock=self.clock),
            clock=self.clock,
        )

    def train(self, round_number: int = 1) -> bytes:
        header = TrainRequest(study=self.study, site="north", round_number=round_number)
        return Envelope(header, {"parameters": START}).to_bytes()

    def evaluate(self) -> bytes:
        header = EvaluateRequest(study=self.study, site="north", round_number=0)
        return Envelope(header, {"parameters": np.zeros(FEATURES + 1)}).to_bytes()

    def request(self, payload: bytes | None = None, **changes: object) -> bytes:
        terms = {"key": COORDINATOR, "study": self.study, "site": "north"} | changes
        return sign_request(self.train() if payload is None else payload, **terms)

    def opened(self, reply: bytes, request: bytes) -> Opened:
        return open_reply(reply, public_key=self.key.public_key, study=self.study, site="north", request=request)

    def reason(self, reply: bytes, request: bytes) -> str:
        """Why a signed reply refuses; empty if it does not."""
        header = read_envelope(self.opened(reply, request).payload).header
        return header.reason if isinstance(header, Refusal) else ""
