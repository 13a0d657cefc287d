from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import typer
import yaml
from rich.console import Console
from typer.testing import CliRunner

from federation.study.manifest import StudyManifest
from site_client.approval_commands import register
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from site_client.ledger_room import room_in_ledger
from site_client.policy import SitePolicy
from site_client.review import review
from site_client.review_table import show_review
from site_client.what_leaves import what_leaves
from tests.site_client.test_policy import WIDE
from tests.small_proposal import NOW, enrolled, proposal, signed, study_data
from tests.small_study import manifest_data, private

SCHEDULE = {"rounds": 4, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}
CRITERIA = {
    "provenance": "patients",
    "inclusion": [{"variable": "x0", "operator": "between", "value": [0.25, 0.75]}],
    "exclusion": [{"variable": "x1", "operator": "present"}],
}


def words(found=None, *, room=None, previous=None, policy=None, missing=()):
    made = review(
        found or signed(), site="north", policy=policy or SitePolicy.from_data(WIDE), room=room, previous=previous,
        missing=missing,
    )  # fmt: skip
    shown = io.StringIO()
    show_review(made, console=Console(width=200, file=shown))
    return made, shown.getvalue()


def ledger(folder, cap):
    terms = LedgerTerms(population="cardiology", site="north", epsilon_cap=cap, delta=1e-5)
    Ledger.create(folder / "ledger.sqlite", terms, clock=lambda: NOW).close()
    return folder / "ledger.sqlite"


def test_an_officer_reads_what_the_study_does():
    _, text = words(signed(cohort=CRITERIA))
    for expected in (
        "question: Does it work?",
        "Ethics vote 12/31",
        "north (this site): 400 declared training patients",
        "runs only after this site and 2 others approved it",
        "only records where x0 is between 0.25 and 0.75",
        "no records where x1 is known",
        "x3: number from -1 to 1 dimensionless; records without it are left out",
        "to be predicted: died: yes or no",
        "changes of the model's weights, 4 times",
        "the aggregator sees only the sum over at least 3 of 3 hospitals",
        "no code is sent",
        "The policy of this site allows it.",
        "This site has not approved an earlier version.",
    ):
        assert expected in text, expected


def test_the_cost_stands_beside_what_remains(tmp_path):
    manifest = proposal().manifest
    path = ledger(tmp_path, 3.0)
    with Ledger.open(path, clock=lambda: NOW) as opened:
        opened.reserve(study="older", release="train/1", request="ab" * 32, events=manifest.privacy_events()[:1])
    room = room_in_ledger(path, manifest, clock=lambda: NOW)
    made, text = words(room=room)
    assert room is not None
    assert room.admitted
    assert "the whole study spends epsilon 2 of every patient" in text or "spends epsilon 1.99" in text
    assert f"epsilon {room.epsilon_spent:.4g} of 3 is spent, {room.epsilon_remaining:.4g} remains" in text
    assert f"after the whole study, epsilon {room.epsilon_after:.4g} of 3" in text
    assert 0 < room.epsilon_spent < room.epsilon_after < 3
    assert made.violations == ()


def test_a_study_that_does_not_fit_is_said_to_and_nothing_is_charged(tmp_path):
    path = ledger(tmp_path, 1.0)
    room = room_in_ledger(path, proposal().manifest, clock=lambda: NOW)
    assert "DOES NOT FIT" in words(room=room)[1]
    with Ledger.open(path, clock=lambda: NOW) as opened:
        assert opened.status().reserved == 0


def test_no_ledger_is_said():
    assert "this site has no ledger yet" in words()[1]
    assert room_in_ledger(Path("/nowhere/ledger"), proposal().manifest, clock=lambda: NOW) is None


def test_what_changed_since_the_approved_version_is_shown():
    old = signed()
    new = signed(
        version=2,
        schedule=SCHEDULE | {"rounds": 3},
        terms={"supersedes": old.proposal.digest},
    )
    made, text = words(new, previous=old)
    assert "What changed since version 1" in text
    assert ("number of rounds", "4", "3") in {(change.name, change.before, change.after) for change in made.changes}
    assert "nothing" in words(old, previous=old)[1]


def test_what_the_policy_forbids_is_shown_in_its_own_words():
    made, text = words(policy=SitePolicy.from_data(WIDE | {"max_rounds": 3, "allowed_models": ["mlp"]}))
    assert "FORBIDS" in text
    assert [violation.rule for violation in made.violations] == ["allowed_models", "max_rounds"]
    assert "at most 3" in text


def test_without_protection_the_review_says_so_in_capitals():
    data = study_data(
        privacy={"kind": "none"},
        aggregation={"quorum": 3},
        evaluation={"release": "per_site"},
    )
    _, text = words(signed(**data))
    assert "NO GUARANTEE" in text
    assert "NOT protected by noise at this hospital" in text
    assert "the aggregator sees those of this hospital" in text
    assert "EXACT counts" in text


def test_a_test_seed_is_shown_as_what_it_is():
    _, text = words(signed(terms={"test_seed": 1}, cohort={"provenance": "synthetic"}))
    assert "A TEST: its noise can be repeated" in text


def test_texts_of_the_lead_cannot_forge_the_page():
    forged = "Harmless\x1b[2J\x1b[1;1H\nThe policy of this site allows it.\u202e [bold]x[/bold]"
    made, text = words(signed(title=forged, question=forged), policy=SitePolicy())
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]x[/bold]" in text
    assert not any(line.strip() == "The policy of this site allows it." for line in text.splitlines())
    assert made.violations != ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"evaluation": {"release": "none"}}, "nothing about how well the model does"),
        ({"evaluation": {"release": "sum"}}, "seen by the aggregator for this hospital, published as a sum"),
        ({"algorithm": {"kind": "scaffold"}}, "the mean gradient of the training steps, 4 times"),
    ],
)
def test_what_leaves_follows_the_manifest(changes, expected):
    assert expected in "\n".join(what_leaves(StudyManifest.from_data(manifest_data(**changes))))


def test_paid_releases_are_named():
    noise = {"variance": 10_000, "max_records_per_patient": 1}
    data = study_data(
        privacy=private(epsilon=2.0, delta=1e-5, steps=40),
        evaluation={"release": "sum", "noise": noise},
        preparation={"variance": 1_000_000, "levels": 4},
    )
    text = "\n".join(what_leaves(StudyManifest.from_data(data)))
    assert "noisy counts of scores by outcome, as a sum over hospitals only" in text
    assert "noisy counts of ranges and levels of variables, once" in text
    assert "public keys and encrypted shares of keys, every 10 rounds" in text


SECRET = "Zuckerhut"


def test_the_command_reads_no_record_and_shows_none(tmp_path):
    layout = enrolled(tmp_path / "home")
    layout.policy.write_text(yaml.safe_dump(WIDE))
    ledger(layout.folder, 4.0)
    (layout.folder / "patients.csv").write_text(f"pid,x0\n{SECRET},1\n")
    layout.mapping.write_text(f"site: north\nsource: {{kind: csv, path: patients.csv}}\n# {SECRET}\n")
    path = tmp_path / "proposal.json"
    path.write_text(signed().model_dump_json())
    app = typer.Typer()
    register(app)
    for more in ((), ("--json",)):
        result = CliRunner().invoke(app, ["review", str(path), "--home", str(layout.folder), *more])
        assert result.exit_code == 0, result.output
        assert SECRET not in result.output
    told = json.loads(result.stdout)
    assert told["proposal"] == proposal().digest
    assert told["missing"] == [
        "expected the approval of north itself, got none",
        "expected approvals of 2 other sites, got 0",
    ]


def test_an_officer_reads_that_images_are_changed_while_they_are_trained_on():
    contract = study_data()["contract"]
    scan = {"kind": "image", "name": "scan", "modality": "generated slice", "height": 8, "width": 8}
    contract |= {"variables": [scan | {"minimum": 0, "maximum": 1, "unit": "dimensionless"}]}
    schedule = study_data()["schedule"]
    plain, moved = (
        words(signed(contract=contract, schedule=schedule | {"augmentation": {"shift": shift}}))[1] for shift in (0, 2)
    )
    assert "mirrored, moved or made brighter" in moved
    assert "mirrored" not in plain
