"""``cohortium site ledger`` for people and for programs."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from federation.errors import InvalidInputError, LedgerDamagedError
from federation.protocol.ledger_head import LedgerHead
from site_client.ledger_commands import ledger_app
from tests.site_client.ledger.ledger_cases import COUNTS, answer, digest, make, open_again, reserve
from tests.site_client.ledger.test_verification import change
from tests.site_client.ledger.test_witness import copy_ledger

TERMS = ("--population", "cardiology", "--site", "st_mary", "--epsilon", "8", "--delta", "1e-6")


def run(*words, code=0):
    result = CliRunner().invoke(ledger_app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.fixture
def used(path):
    with make(path) as ledger:
        answer(ledger, 1)
        ledger.computed(reserve(ledger, 2), digest("bytes"))
        reserve(ledger, 1, study="kidney", events=(COUNTS,))
    return path


def test_create(path):
    output = run("create", path, *TERMS).output
    with open_again(path) as ledger:
        assert ledger.public_key in output
        assert ledger.terms.epsilon_cap == 8.0


@pytest.mark.parametrize("bad", [("--epsilon", "-1"), ("--delta", "1"), ("--population", "A B"), ("--order", "8.05")])
def test_create_with_terms_that_make_no_sense(path, bad):
    result = run("create", path, *TERMS, *bad, code=1)
    assert isinstance(result.exception, InvalidInputError)
    assert not path.exists()


def test_show(used):
    output = run("show", used).output
    for expected in ("epsilon", "heart", "kidney", "train/1", "reserved", "computed", "sent", "of 8 is spent"):
        assert expected in output
    assert "\x1b" not in output
    assert "LOCKED" not in output


def test_show_of_a_new_ledger(path):
    make(path).close()
    output = run("show", path).output
    assert "1 entries" in output
    assert "0 sent" in output
    assert "if alone" not in output


def test_show_json(used):
    status = json.loads(run("show", used, "--json").output)
    assert [release["state"] for release in status["releases"]] == ["sent", "computed", "reserved"]
    assert {study["study"]: study["releases"] for study in status["studies"]} == {"heart": 2, "kidney": 1}


def test_show_of_a_locked_ledger(used, tmp_path):
    backup = copy_ledger(used, tmp_path / "backup")
    with open_again(used) as ledger:
        answer(ledger, 3)
        witnessed = ledger.head()
    with open_again(backup) as restored, pytest.raises(Exception, match="witnessed"):
        restored.witness(witnessed)
    assert "LOCKED" in run("show", backup).output
    assert "restored backup" in json.loads(run("show", backup, "--json").output)["locked"]


def test_verify(used):
    assert "entries and 2 signed heads hold" in run("verify", used).output
    assert json.loads(run("verify", used, "--json").output)["intact"] is True


def test_verify_names_the_first_bad_entry(used):
    change(used, "DELETE FROM entries WHERE sequence = 3")
    assert "entry 3" in run("verify", used, code=46).output
    report = json.loads(run("verify", used, "--json", code=46).output)
    assert (report["intact"], report["first_bad_entry"]) == (False, 3)
    for command in ("show", "head", "export"):
        assert isinstance(run(command, used, code=1).exception, LedgerDamagedError)


def test_head(used):
    signed = LedgerHead.from_json(run("head", used, "--json").output)
    assert signed.is_genuine()
    assert signed.entry_hash in run("head", used).output
    with open_again(used) as ledger:
        ledger.witness(signed)


def test_export(used):
    lines = [json.loads(line) for line in run("export", used).output.splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[1]["entry"]["release"] == "train/1"
    assert "key" not in lines[1]["entry"]
