from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.result_tables import comparison_table, figures_table, setting_label
from experiments.summary import Comparison, SettingRow
from tests.experiments.example_summary import row, summary


def _text(table: Table) -> str:
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_one_line_per_setting_in_words(tmp_path: Path) -> None:
    text = _text(figures_table(summary(tmp_path)))
    assert "federated, private (epsilon 2, delta 0.001)" in text
    assert "each site alone" in text
    assert "all records pooled" in text
    assert "seed 42" in text
    assert "0.800" in text
    assert "south 0.700" in text  # the worst site, by the primary metric


def test_several_seeds_have_intervals(tmp_path: Path) -> None:
    text = _text(figures_table(summary(tmp_path, seeds=(1, 2, 3))))
    assert "mean of 3 seeds [95% interval]" in text
    assert "0.800 [0.780, 0.820]" in text


def test_a_figure_that_is_not_defined_is_a_dash(tmp_path: Path) -> None:
    bare = SettingRow(setting="federated", metrics={"accuracy": 0.5}, per_site={"north": {}}, by_seed={})
    text = _text(figures_table(summary(tmp_path, settings_table=(row("pooled", 0.8), bare))))
    assert text.count("–") == 3


def test_an_error_is_worst_where_it_is_largest(tmp_path: Path) -> None:
    rows = (
        SettingRow(
            setting="federated", metrics={"rmse": 2.0}, per_site={"a": {"rmse": 1.0}, "b": {"rmse": 3.0}}, by_seed={}
        ),
    )
    text = _text(figures_table(summary(tmp_path, task="regression", primary_metric="rmse", settings_table=rows)))
    assert "RMSE" in text
    assert "MAE" not in text
    assert "b 3.000" in text


def test_without_privacy_the_federation_is_just_federated(tmp_path: Path) -> None:
    plain = summary(tmp_path, privacy_kind="none", epsilon=None, delta=None, epsilon_spent={})
    assert setting_label("federated", plain) == "federated"
    assert setting_label("cyclic", plain) == "cyclic, the model passed on"
    assert setting_label("new_setting", plain) == "new_setting"


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    comparisons = (
        Comparison(name="pooled/accuracy", published=0.7953, tolerance=0.01, here=0.79),
        Comparison(name="federated/accuracy", published=0.748, tolerance=0.05, here=0.5),
        Comparison(name="cyclic/accuracy", published=0.7, tolerance=0.05, here=None),
    )
    text = _text(comparison_table(summary(tmp_path, comparisons=comparisons)))
    assert "0.7953" in text
    assert text.count("within") == 1
    assert text.count("OUTSIDE") == 1
    assert text.count("not measured") == 1
