from __future__ import annotations

import pytest

from conf.groups import GROUPS, dotted_keys, option_names, option_summary, settings_by_option
from federation.errors import InternalError


def test_the_options_that_the_documentation_names_are_there() -> None:
    assert {"demo", "heart_disease", "readmission", "synthetic"} <= set(option_names("study"))
    assert {"none", "patient_level"} <= set(option_names("privacy"))
    assert set(option_names("model")) == {"linear", "mlp", "cnn", "cnn1d", "gru", "unet"}
    assert set(option_names("engine")) == {"batched", "flower", "inline", "ray"}
    assert set(option_names("algorithm")) == {
        "fedavg", "fedprox", "scaffold", "fedavgm", "fedadam", "fedyogi", "fedadagrad",
    }  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_options(group: str) -> None:
    assert option_names(group)


def test_an_unknown_group_is_our_own_bug() -> None:
    with pytest.raises(InternalError, match="expected one of"):
        option_names("tuned")


@pytest.mark.parametrize("study", option_names("study"))
def test_every_study_says_what_it_is(study: str) -> None:
    assert len(option_summary("study", study).split()) >= 5


def test_a_file_without_comment_has_no_summary() -> None:
    assert option_summary("model", "linear") == ""


def test_settings_by_option_knows_both_kinds_of_package() -> None:
    assert "privacy.epsilon" in settings_by_option("privacy")["patient_level"]
    assert "privacy.epsilon" not in settings_by_option("privacy")["none"]
    assert "study.options.alpha" in settings_by_option("study")["readmission"]


def test_dotted_keys_keep_inner_nodes() -> None:
    assert list(dotted_keys({"a": {"b": {"c": 1}}, "d": [1]})) == ["a", "a.b", "a.b.c", "d"]
