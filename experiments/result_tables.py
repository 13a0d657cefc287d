"""What a finished simulation shows on a terminal: its figures as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.table import Table

from aggregator.report.wire import size_of
from experiments.summary import SettingRow, SimulationSummary

COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "binary": {"accuracy": "accuracy", "auroc": "AUROC", "mean_site_accuracy": "accuracy, mean of sites"},
    "multiclass": {
        "accuracy": "accuracy",
        "macro_recall": "macro recall",
        "mean_site_accuracy": "accuracy, mean of sites",
    },
    "regression": {"rmse": "RMSE", "mae": "MAE", "r2": "R²"},
    "count": {"deviance": "deviance", "rmse": "RMSE", "mae": "MAE", "calibration_ratio": "observed / predicted"},
    "quantile": {"pinball": "pinball loss", "coverage_error": "coverage error", "crossing": "crossed"},
    "survival": {
        "concordance": "concordance",
        "mean_auroc": "AUROC over time",
        "integrated_brier": "integrated Brier",
        "mean_site_concordance": "concordance, mean of sites",
    },
}
"""By task: metric to the column's title."""


def show_summary(console: Console, summary: SimulationSummary) -> None:
    """Show everything a reader wants first: figures, privacy spent, and where report, runs and folder are.

    Args:
        console: Where to.
        summary: Of the finished simulation.
    """
    console.print(figures_table(summary))
    if summary.comparisons:
        console.print(comparison_table(summary))
    for entry in summary.exclusions:
        console.print(f"left out {entry.site} in {entry.rounds} rounds: {entry.reason}", markup=False)
    if summary.epsilon_spent:
        spent = max(summary.epsilon_spent.values())
        console.print(f"privacy  epsilon {spent:.3g} spent at delta {summary.delta:g}, per patient and site")
    if summary.bytes_sent_per_round:
        sent, received = size_of(summary.bytes_sent_per_round), size_of(summary.bytes_received_per_round)
        console.print(f"wire     {sent} sent to all sites and {received} received in a round")
    for title, value in {"report": summary.report, "runs": summary.mlflow_command, "folder": summary.output}.items():
        if value:
            console.print(f"{title:<8} {value}", markup=False, soft_wrap=True)


def figures_table(summary: SimulationSummary) -> Table:
    """One row per training setting; means over the seeds, with 95% intervals if there are several."""
    number = len(summary.seeds)
    seeds = f"mean of {number} seeds [95% interval]" if number > 1 else f"seed {', '.join(map(str, summary.seeds))}"
    table = Table(title=f"{summary.study} · {summary.algorithm} · {seeds}", title_justify="left")
    table.add_column("trained")
    shown = {
        metric: title
        for metric, title in COLUMNS[summary.task].items()
        if any(metric in row.metrics for row in summary.settings_table)
    }
    for title in shown.values():
        table.add_column(title, justify="right")
    table.add_column("worst site", justify="right")
    for row in summary.settings_table:
        cells = [_figure(row, metric) for metric in shown]
        table.add_row(setting_label(row.setting, summary), *cells, _worst_site(row, summary))
    return table


def comparison_table(summary: SimulationSummary) -> Table:
    """Published figures beside this run's."""
    table = Table(title="beside published figures", title_justify="left")
    for title in ("figure", "published", "here", "tolerance", ""):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for entry in summary.comparisons:
        here = "not measured" if entry.here is None else f"{entry.here:.4f}"
        verdict = "" if entry.here is None else ("within" if entry.within else "OUTSIDE")
        table.add_row(entry.name, f"{entry.published:.4f}", here, f"±{entry.tolerance:g}", verdict)
    return table


def setting_label(setting: str, summary: SimulationSummary) -> str:
    """A training setting in words.

    Args:
        setting: As in :data:`experiments.summary.SETTINGS`.
        summary: For its privacy.
    """
    private = summary.privacy_kind != "none" and summary.epsilon is not None and summary.delta is not None
    federated = f"federated, private (epsilon {summary.epsilon:g}, delta {summary.delta:g})" if private else "federated"
    labels = {
        "local_only": "each site alone",
        "federated": federated,
        "federated_non_private": "federated, without privacy",
        "federated_local_noise": "federated, all of the noise at every site",
        "cyclic": "cyclic, the model passed on",
        "pooled_private": "all records pooled, private (the same epsilon)",
        "pooled": "all records pooled",
    }
    return labels.get(setting, setting)


def _figure(row: SettingRow, metric: str) -> str:
    if metric not in row.metrics:
        return "–"
    text = f"{row.metrics[metric]:.3f}"
    if metric in row.interval:
        lower, upper = row.interval[metric]
        text += f" [{lower:.3f}, {upper:.3f}]"
    return text


def _worst_site(row: SettingRow, summary: SimulationSummary) -> str:
    metric = summary.primary_metric
    found = {site: metrics[metric] for site, metrics in row.per_site.items() if metric in metrics}
    if not found:
        return "–"
    worst = max if metric in {"rmse", "mae"} else min
    site = worst(found, key=lambda name: found[name])
    return f"{site} {found[site]:.3f}"
