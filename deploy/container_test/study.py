"""A whole study in containers, in the steps of docs/consortium.md and docs/site-it.md: written, approved, run, released, scored.

Every command is typed in a container: the hospital's in its agent's, the host's in the aggregator's, the lead's in one that is gone
afterwards. The hospitals' patients are generated, for the contract of the heart disease study.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import yaml

from aggregator.host.study_status import StudyStatus, read_status
from conf.received_files import read_received
from deploy.container_test.checks import Checks
from deploy.container_test.consortium import SITES, Consortium, wait_until
from deploy.container_test.image_checks import UIDS
from experiments.rehearsal.comparison import compare
from experiments.rehearsal.records import RehearsedRecords
from federation.errors import CohortiumError, StudyError
from federation.governance.proposals import SignedProposal

_ROUNDS: Final = 3
_SEED: Final = 7
_SECONDS: Final = 900.0
_LOOK_SECONDS: Final = 0.02
_KILLED: Final = "st_luke"
_LEDGER: Final = "/var/lib/cohortium/site/ledger.sqlite"
_MAPPING: Final = "/records/mapping.yaml"
_POLICY: Final = {
    "allowed_provenance": ["synthetic"],
    "allow_test_seed": True,
    "epsilon_cap_per_study": 8.0,
    "allowed_aggregation": ["masked"],
}
"""What these hospitals change in the example policy: their patients are generated, and the seed is known."""


class ContainerStudy:
    """From the lead's key until the sites have scored the model.

    Args:
        consortium: Its containers run.
        records: Of the hospitals.
        checks: Where results go.
    """

    def __init__(self, consortium: Consortium, records: RehearsedRecords, checks: Checks) -> None:
        self._consortium = consortium
        self._records = records
        self._checks = checks

    def run(self) -> None:
        """All steps; the first that cannot be done ends it."""
        self._approve(self._propose())
        study = self._launch()
        self._kill_and_start(study)
        if self._finish(study):
            self._release(study)
            self._close(study)

    def _lead(self, *words: str) -> str:
        return self._consortium.desk("lead", *words)

    def _host(self, *words: str) -> str:
        return self._consortium.aggregator.typed("aggregator", *words)

    def _site(self, site: str, *words: str) -> str:
        return self._consortium.sites[site].typed("agent", *words)

    def _propose(self) -> str:
        """The lead writes and signs a study; returns the lead's public key, for the hospitals' policies."""
        consortium, desk = self._consortium, self._consortium.letters("lead")
        _give(desk / "contract.yaml", self._records.contract.read_text(encoding="utf-8"), UIDS["aggregator"])
        lead = json.loads(self._lead("study", "lead-key", "-o", "lead.key", "--json"))["lead"]
        patients = [
            word
            for site, number in self._records.training_patients.items()
            for word in ("--patients", f"{site}={number}")
        ]
        self._lead(
            "study", "new", "--contract", "contract.yaml", "--members", "members.json", "--rounds", str(_ROUNDS),
            "--provenance", "synthetic", "--epsilon", "4", *patients, "-o", "study.yaml",
        )  # fmt: skip
        text = re.sub(
            r"^study: .*", "study: heart", (desk / "study.yaml").read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        text = text.replace("FILL IN", "Ethics vote 12 of 2031")
        (desk / "study.yaml").write_text(text, encoding="utf-8")
        self._lead("study", "check", "study.yaml")
        self._lead("study", "digest", "study.yaml")
        known = consortium.home(SITES[0]) / "site.json"
        coordinator = yaml.safe_load(known.read_text(encoding="utf-8"))["coordinator_key"]
        self._lead(
            "study", "sign", "study.yaml", "--key", "lead.key", "--coordinator", coordinator,
            "--approvals-needed", "2", "--test-seed", str(_SEED), "-o", "proposal.json",
        )  # fmt: skip
        self._lead("study", "propose", "proposal.json", "-o", "letters")
        return str(lead)

    def _approve(self, lead: str) -> None:
        """Every hospital looks at data and study, approves, and learns that the others did."""
        for site in SITES:
            for name in ("contract.yaml", "proposal.json"):
                self._consortium.carry(name, "lead", site)
        with ThreadPoolExecutor(len(SITES)) as hospitals:
            list(hospitals.map(lambda site: self._decide(site, lead), SITES))
        for site in SITES:
            self._consortium.carry(f"approve-{site}.json", site, "lead")
        answers = [f"approve-{site}.json" for site in SITES]
        self._lead("study", "approvals", "proposal.json", *answers, "-o", "dossier.json")
        for site in SITES:
            self._consortium.carry("dossier.json", "lead", site)
        with ThreadPoolExecutor(len(SITES)) as hospitals:
            list(hospitals.map(lambda site: self._site(site, "site", "approvals", "dossier.json"), SITES))

    def _decide(self, site: str, lead: str) -> None:
        home = self._consortium.home(site)
        if site == SITES[0]:
            self._site(site, "site", "data", "check", "--contract", "contract.yaml", "--mapping", _MAPPING)
            self._site(site, "site", "data", "profile", "--contract", "contract.yaml", "--mapping", _MAPPING)
        _give(home / "mapping.yaml", f"mapping: {_MAPPING}\n", UIDS["agent"])
        self._site(site, "site", "policy", "init", "--lead", lead)
        policy = yaml.safe_load((home / "policy.yaml").read_text(encoding="utf-8")) | _POLICY
        _give(home / "policy.yaml", yaml.safe_dump(policy, sort_keys=False), UIDS["agent"])
        self._site(
            site, "site", "ledger", "create", _LEDGER, "--population", "inpatients", "--site", site,
            "--epsilon", "8", "--delta", "1e-5",
        )  # fmt: skip
        if site == SITES[0]:
            self._look_around(site)
        self._site(site, "site", "approve", "proposal.json", "--officer", "Dr A. Weiss")

    def _look_around(self, site: str) -> None:
        """What a hospital's people type once and every day."""
        project, checks = self._consortium.sites[site], self._checks
        self._site(site, "site", "policy", "check")
        for side in ("agent", "gateway"):
            words = ("site", "doctor", "--home", "/var/lib/cohortium/site")
            found = self._consortium.engine.podman("exec", project.container(side), "cohortium", *words, check=False)
            self._consortium.engine.typed.append(words)
            checks.that(f"{side}: doctor finds nothing wrong", found.code == 0, found=found.text)
        status = self._site(site, "site", "status")
        checks.that("agent: status says that its socket answers", "answers" in status, found=status)
        self._site(site, "site", "pause")
        self._site(site, "site", "resume")
        review = self._site(site, "site", "review", "proposal.json")
        checks.that("agent: review says what the study costs", "epsilon" in review, found=review)

    def _launch(self) -> Path:
        """The study begins; returns its folder at the aggregator's host."""
        answers = [f"approve-{site}.json" for site in SITES]
        self._host("aggregator", "status")
        for name in ("proposal.json", *answers):
            self._consortium.carry(name, "lead", "aggregator")
        launched = self._consortium.aggregator.asked("aggregator", "study", "launch", "proposal.json", *answers)
        return self._consortium.folder / "aggregator/studies" / str(launched["digest"]).removeprefix("sha256:")

    def _kill_and_start(self, study: Path) -> None:
        """One hospital's agent dies while it is asked; the study waits for it; it is started again."""
        project = self._consortium.sites[_KILLED]
        agent = project.container("agent")
        asked = _wait(study, lambda status: status.rounds_complete >= 1 and _KILLED in status.asked)
        self._checks.that(f"{_KILLED} is asked in the second round or later", asked, found=_said(study))
        self._consortium.engine.podman("kill", "--signal", "KILL", agent)
        waits = _wait(study, lambda status: status.asked == (_KILLED,))
        self._checks.that(
            f"its agent's container is killed, and the study waits for {_KILLED} alone", waits, found=_said(study)
        )
        code = project.details("agent")["State"]["ExitCode"]
        self._checks.equal("the container was killed in the middle", code, 128 + signal.SIGKILL)
        done = read_status(study / "status.json")
        project.compose("start", "agent")
        before = 0 if done is None else done.rounds_complete
        goes_on = _wait(study, lambda status: status.rounds_complete > before)
        self._checks.that("started again, and the round is done", goes_on, found=_said(study) or project.logs("agent"))
        after = read_status(study / "status.json")
        self._checks.equal("nobody is missing in it", None if after is None else after.missing, {})

    def _finish(self, study: Path) -> bool:
        """Wait for the end; whether it is the right one."""
        wait_until((study / "outcome.json").is_file, seconds=_SECONDS, every=0.2)
        found: dict[str, Any] = self._consortium.aggregator.asked("aggregator", "study", "status", "heart")
        ending = (found["outcome"] or {}).get("ending")
        said = self._consortium.aggregator.logs("aggregator")
        self._checks.that("the study finishes", ending == "finished", found=f"{found}\n{said}")
        return ending == "finished"

    def _release(self, study: Path) -> None:
        """The lead releases the model, a hospital verifies and scores it, and the logs agree."""
        desk, site = self._consortium.letters("lead"), SITES[0]
        for name in ("report.json", "manifest.json", "model.safetensors"):
            _give(desk / study.name / name, (study / name).read_bytes(), UIDS["aggregator"])
        self._host("aggregator", "audit", "verify")
        self._host("aggregator", "audit", "export", "-o", "coordinator-audit.json")
        self._lead("study", "release", study.name, "--key", "lead.key", "-o", "release")
        said = self._lead("study", "verify-release", "release", "--proposal", "proposal.json")
        self._checks.that("lead: the release is signed and complete", said, found=said)
        self._consortium.carry("release", "lead", site)
        self._consortium.carry("coordinator-audit.json", "aggregator", site)
        words = ("site", "score", "release", "--mapping", _MAPPING, "--proposal", "proposal.json")
        scored = self._consortium.sites[site].asked("agent", *words)
        self._checks.that("agent: verifies and scores the released model", scored, found=scored)
        self._site(site, "site", "audit", "verify", "--against", "coordinator-audit.json")
        self._site(site, "site", "audit", "export", "-o", "audit.json")
        self._site(site, "site", "ledger", "verify", _LEDGER)
        self._host("study", "close", "heart")

    def _close(self, study: Path) -> None:
        """The model and the charges are those of a simulation."""
        proposal = read_received(
            self._consortium.letters("lead") / "proposal.json", SignedProposal, error=StudyError
        ).proposal
        homes = {site: self._consortium.home(site) for site in SITES}
        place = self._consortium.folder / "simulation"
        try:
            lines = compare(proposal, study=study, homes=homes, mappings=self._records.mappings, place=place)
        except CohortiumError as failure:
            self._checks.that("the model and the charges are those of a simulation", holds=False, found=failure)
        else:
            for line in lines:
                self._checks.that(line, holds=True)


def _wait(study: Path, holds: Callable[[StudyStatus], bool]) -> bool:
    """Whether a study comes to a state before it ends."""

    def is_so() -> bool:
        status = read_status(study / "status.json")
        over = (study / "outcome.json").exists()
        return over or (status is not None and holds(status))

    wait_until(is_so, seconds=_SECONDS, every=_LOOK_SECONDS)
    return not (study / "outcome.json").exists()


def _said(study: Path) -> str:
    status = read_status(study / "status.json")
    return "no status" if status is None else status.model_dump_json()


def _give(path: Path, content: str | bytes, owner: int) -> None:
    """Write a file into a folder of somebody's."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    for part in (path.parent, path) if path.parent.stat().st_uid == 0 else (path,):
        os.chown(part, owner, owner)
