from __future__ import annotations

import copy

from federation.governance.changes import changes
from federation.governance.plain_text import plain
from tests.small_proposal import SITES, proposal, roster, study_data
from tests.small_study import contract


def test_the_same_proposal_has_no_changes():
    assert changes(proposal(), proposal()) == ()


def test_each_changed_field_is_one_line_with_a_name():
    found = changes(proposal(), proposal(approvals_needed=1, title="Another title"))
    assert [(change.name, change.before, change.after) for change in found] == [
        ("title", "A small study", "Another title"),
        ("other sites that must approve", "2", "1"),
    ]


def test_one_more_site_is_one_more_and_not_a_change_of_the_rest():
    found = changes(proposal(), proposal(roster=roster(("east", *SITES))))
    assert {change.path.partition("]")[0] for change in found} == {"manifest.roster[east"}
    assert {change.before for change in found} == {"(not there)"}
    assert "site: east training_patients" in {change.name for change in found}


def test_a_variable_less_and_a_wider_range_are_seen():
    wider = copy.deepcopy(contract())
    wider["variables"][1]["maximum"] = 2
    del wider["variables"][3]
    found = {change.path: change.after for change in changes(proposal(), proposal(**study_data(contract=wider)))}
    assert found["manifest.contract.variables[x1].maximum"] == "2.0"
    assert found["manifest.contract.variables[x3].kind"] == "(not there)"


def test_texts_of_others_cannot_move_the_cursor_or_turn_the_line():
    assert plain("a\x1b[2Jb\u202ec\x07") == "a\ufffd[2Jb\ufffdc\ufffd"
    assert plain(" two\n lines\t") == "two lines"
    assert plain("Zürich – 東京 é") == "Zürich – 東京 é"
    found = changes(proposal(), proposal(title="\x1b]0;owned\x07 A\nB"))
    assert "\x1b" not in found[0].after
    assert "\n" not in found[0].after
