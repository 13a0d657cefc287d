"""docs/consortium.md and docs/site-it.md, typed as they stand, by six people at six machines, from empty folders to a released model.

The test knows what a reader of the two pages knows: who types a block (the word after ``bash`` in its fence), what is typed once
for each hospital, when it is the hospitals' turn (the lines that begin with ▶), which files travel (the table), and what has to be
written instead of the words in capitals. What a hospital brings is its records and their mapping.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from experiments.rehearsal.records import HOSPITALS, RehearsedRecords, heart_disease
from tests.architecture.guide_pages import DOCS, Block, Handover, blocks, steps, tables
from tests.e2e.guide_terminal import Terminal, Typed, World, world_is_possible

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not world_is_possible(), reason="needs root and Linux namespaces"),
]

SITES = ("st_mary", "st_luke", "st_anne")
FINGERPRINT = re.compile(r"(?:[0-9a-f]{4} ){7}[0-9a-f]{4}")
PLACEHOLDER = "0123 4567 89ab cdef 0123 4567 89ab cdef"
STAYS = re.compile(r"^cohortium (aggregator|site) start\b")
# What a reader does until it says what it should: everything else must succeed at once.
REPEATED = {"cohortium aggregator status": r"all is well", "cohortium site status": r"agent's socket\s+answers"}
SECONDS = 1200.0


class Reading:
    """Somebody reads the two guides aloud, and everybody types what is theirs."""

    def __init__(self, world: World, folder: Path, records: RehearsedRecords) -> None:
        self.office = {role: Terminal(world, folder / role) for role in ("officer", "host", "lead")}
        self.sites = {site: Terminal(world, folder / site) for site in SITES}
        self.travels = [
            tuple(re.sub("`", "", cell) for cell in row) for row in tables(DOCS / "consortium.md", columns=3)
        ]
        self.known: dict[str, str] = {}
        self.typed: list[Block] = []
        self.outputs: dict[str, str] = {}
        for site, hospital in zip(SITES, HOSPITALS, strict=True):
            place = self.sites[site].desk / "srv" / "cardiology"
            shutil.copytree(records.mappings[hospital].parent, place)
            mapping = (place / "mapping.yaml").read_text()
            (place / "mapping.yaml").write_text(mapping.replace(f"site: {hospital}\n", f"site: {site}\n"))

    def read(self) -> None:
        """From the first block to the last."""
        guide = blocks(DOCS / "site-it.md")
        for step in steps(DOCS / "consortium.md"):
            if isinstance(step, Handover):
                for section in step.sections:
                    found = [block for block in guide if block.section == section]
                    assert found, f"consortium.md sends hospitals to site-it.md#{section}, where nothing is typed"
                    for block in found:
                        self._type_block(block)
            else:
                self._type_block(step)

    def _type_block(self, block: Block) -> None:
        self.typed.append(block)
        if block.role == "site":
            for site, terminal in self.sites.items():
                for command in block.commands:
                    self._type(terminal, site, command.replace("st_mary", site), block)
            return
        people = tuple(self.office) if block.role == "everybody" else (block.role,)
        for person in people:
            for site in SITES if block.for_each else ("st_mary",):
                for command in block.commands:
                    self._type(self.office[person], person, command.replace("st_mary", site), block)

    def _type(self, terminal: Terminal, who: str, command: str, block: Block) -> None:
        line = self._filled_in(command)
        said = terminal.type(line, seconds=SECONDS, background=STAYS.match(line) is not None)
        wanted = REPEATED.get(line)
        for _ in range(600):
            if wanted is None or (said.code == 0 and re.search(wanted, said.output)):
                break
            said = terminal.type(f"sleep 0.5; {line}", seconds=SECONDS)
        assert said.code == 0, (
            f"{block.page}:{block.line}: {who}: {line}\nended with {said.code}:\n{said.output[-4000:]}"
        )
        self._take_down(line, said)
        self.outputs[f"{who}: {command}"] = said.output
        self._deliver()

    def _filled_in(self, command: str) -> str:
        about = re.search(r"(st_\w+)\.request\.json", command)
        whose = "authority" if not command.startswith("cohortium consortium") else about[1] if about else "host"
        filled = command.replace(PLACEHOLDER, self.known.get(whose, PLACEHOLDER))
        for word in ("LEAD_KEY", "COORDINATOR_KEY", "DIGEST"):
            filled = re.sub(rf"\b{word}\b", self.known.get(word, word), filled)
        assert PLACEHOLDER not in filled, f"nobody has read out the fingerprint of {whose}"
        return filled

    def _take_down(self, line: str, said: Typed) -> None:
        """What a reader writes down for later, or reads out by telephone."""
        shown = FINGERPRINT.findall(said.output)
        if line.startswith("cohortium consortium init"):
            self.known["authority"] = shown[0]
        elif line.startswith("cohortium aggregator request"):
            self.known["host"] = shown[-1]
        elif match := re.search(r"--output (st_\w+)\.request\.json", line):
            self.known[match[1]] = shown[-1]
        for word, command, label in (
            ("LEAD_KEY", "cohortium study lead-key", r"public key: ([0-9a-f]{64})"),
            ("COORDINATOR_KEY", "cohortium aggregator init", r"coordinator\D*\b([0-9a-f]{64})"),
            ("DIGEST", "cohortium study digest", r"sha256:([0-9a-f]{64})"),
        ):
            if line.startswith(command):
                found = re.search(label, said.output)
                assert found, f"`{command}` does not print what {word} stands for: {said.output}"
                self.known[word] = found[1]

    def _deliver(self) -> None:
        """The e-mails of the table, as soon as there is something to send."""
        for file, giver, takers in self.travels:
            for site in SITES if "st_mary" in file else ("",):
                name = file.replace("st_mary", site) if site else file
                for taker in takers.split(", "):
                    for source in self._desks(giver, site):
                        for target in self._desks(taker, site):
                            if (source / name).is_file() and target.is_dir() and not (target / name).exists():
                                shutil.copy(source / name, target / name)

    def _desks(self, role: str, site: str) -> list[Path]:
        if role != "hospital":
            return [self.office[role].desk / "root"]
        return [self.sites[name].desk / "srv" / "cohortium" for name in ((site,) if site else SITES)]


@pytest.fixture(scope="module")
def reading(cohortium_data: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("guides")
    records = heart_disease(cohortium_data, folder / "records")
    with World() as world:
        reading = Reading(world, folder / "people", records)
        reading.read()
        yield reading


def test_the_two_guides_lead_from_empty_folders_to_a_released_model(reading: Reading) -> None:
    release = reading.office["lead"].desk / "root" / "release"
    assert (release / "model.onnx").is_file()
    for site in SITES:
        assert (reading.sites[site].desk / "srv/cohortium/release/release.json").read_bytes() == (
            release / "release.json"
        ).read_bytes()


def test_nothing_in_the_two_guides_was_left_out(reading: Reading) -> None:
    for page in ("consortium.md", "site-it.md"):
        whole = blocks(DOCS / page)
        assert [block for block in reading.typed if block.page == f"docs/{page}"] == list(whole)
        assert {block.role for block in whole} <= {"everybody", "officer", "host", "lead", "site"}


def test_the_pages_on_logs_are_typed_at_the_same_machines(reading: Reading) -> None:
    """docs/audit_log.md, by one hospital and the host, whose exports travel."""
    people = {"site": reading.sites["st_mary"], "host": reading.office["host"]}
    mail = {
        "site_audit.json": (people["site"].desk / "srv/cohortium", people["host"].desk / "root"),
        "coordinator_audit.json": (people["host"].desk / "root", people["site"].desk / "srv/cohortium"),
    }
    for block in blocks(DOCS / "audit_log.md"):
        for command in block.commands:
            said = people[block.role].type(command, seconds=SECONDS)
            assert said.code == 0, f"{block.page}:{block.line}: {command}\n{said.output}"
        for name, (giver, taker) in mail.items():
            if (giver / name).is_file():
                shutil.copy(giver / name, taker / name)
