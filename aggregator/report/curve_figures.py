"""The figures of a report that depend on the task: ROC and its kin, confusion matrices, predicted against observed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

import numpy as np

from aggregator.report.content import BinaryCurves, Line, MulticlassCurves, RegressionCurves, StudyReport
from aggregator.report.figures import INK, PALETTE, QUIET, Axes, Picture, draw_svg, legend_below, style_of
from aggregator.report.vocabulary import setting_of


def curve_figures(report: StudyReport) -> tuple[Picture, ...]:
    """The figures that fit the report's task, over all sites' test patients."""
    match report.task:
        case "binary":
            return _binary(report, [entry for entry in report.curves if isinstance(entry, BinaryCurves)])
        case "multiclass":
            return _multiclass(report, [entry for entry in report.curves if isinstance(entry, MulticlassCurves)])
        case "quantile" | "survival":
            return ()
        case "regression" | "count":
            return _regression(report, [entry for entry in report.curves if isinstance(entry, RegressionCurves)])
        case _:
            assert_never(report.task)


def _binary(report: StudyReport, curves: Sequence[BinaryCurves]) -> tuple[Picture, ...]:
    if not curves:
        return ()
    pictures: list[Picture] = []
    if any(entry.roc is not None for entry in curves):
        pictures = [_roc(report, curves), _precision_recall(report, curves)]
    return (*pictures, _calibration(report, curves), _net_benefit(report, curves))


def _roc(report: StudyReport, curves: Sequence[BinaryCurves]) -> Picture:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, label="guessing")
        _lines(axes, report, [(entry.setting, entry.roc) for entry in curves if entry.roc is not None])
        _unit_square(axes)
        axes.set_xlabel("False alarms (1 − specificity)")
        axes.set_ylabel("Sensitivity")

    return _picture(
        "roc",
        "ROC curve",
        draw,
        description=f"Receiver operating characteristic of {_names(report, curves)} over all sites.",
        caption=(
            "For every threshold: the share of patients with the outcome that is found, against the share of the "
            "others that is flagged wrongly. Up and left is better."
        ),
    )


def _precision_recall(report: StudyReport, curves: Sequence[BinaryCurves]) -> Picture:
    def draw(axes: Axes) -> None:
        axes.axhline(curves[0].prevalence, color=QUIET, linewidth=1, label="guessing")
        _lines(
            axes,
            report,
            [(entry.setting, entry.precision_recall) for entry in curves if entry.precision_recall is not None],
        )
        _unit_square(axes)
        axes.set_xlabel("Recall (sensitivity)")
        axes.set_ylabel("Precision")

    return _picture(
        "precision-recall",
        "Precision-recall curve",
        draw,
        description=(
            f"Precision against recall of {_names(report, curves)} over all sites; guessing is at "
            f"{curves[0].prevalence:.2f}."
        ),
        caption=(
            "Of the patients that are flagged, the share that has the outcome (precision), against the share of "
            "the outcome that is found (recall). Up and right is better."
        ),
    )


def _calibration(report: StudyReport, curves: Sequence[BinaryCurves]) -> Picture:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, label="perfect")
        for entry in curves:
            color, marker, dash = style_of(entry.setting)
            bins = entry.calibration
            axes.vlines(
                [point.predicted for point in bins],
                [point.lower for point in bins],
                [point.upper for point in bins],
                color=color,
                linewidth=0.9,
                alpha=0.45,
            )
            axes.plot(
                [point.predicted for point in bins],
                [point.observed for point in bins],
                color=color,
                marker=marker,
                markersize=4,
                linestyle=dash,
                linewidth=1.2,
                label=_short(report, entry.setting),
            )
        _unit_square(axes)
        axes.set_xlabel("Predicted risk")
        axes.set_ylabel("Observed frequency")

    return _picture(
        "calibration",
        "Calibration",
        draw,
        description=(
            f"Observed frequency against predicted risk of {_names(report, curves)}, in up to ten groups of equal size."
        ),
        caption=(
            "Patients grouped by predicted risk: a point on the diagonal means that the risk is right on "
            f"average. Bars: {report.confidence_level:.0%} Wilson intervals."
        ),
    )


def _net_benefit(report: StudyReport, curves: Sequence[BinaryCurves]) -> Picture:
    prevalence = curves[0].prevalence

    def draw(axes: Axes) -> None:
        treat_all = curves[0].net_benefit_treat_all
        axes.plot(treat_all.x, treat_all.y, color=QUIET, linewidth=1.2, label="treat all")
        axes.axhline(0, color=INK, linewidth=1, linestyle=(0, (6, 3)), label="treat none")
        _lines(axes, report, [(entry.setting, entry.net_benefit) for entry in curves])
        axes.set_xlim(0, 1)
        top = max(0.05, *(max(entry.net_benefit.y) for entry in curves))
        axes.set_ylim(-0.25 * top, 1.08 * top)
        axes.set_xlabel("Threshold probability")
        axes.set_ylabel("Net benefit")

    return _picture(
        "net-benefit",
        "Decision curve",
        draw,
        description=(
            f"Net benefit of {_names(report, curves)}, of treating all and of treating none; frequency of the "
            f"outcome {prevalence:.2f}."
        ),
        caption=(
            "Choose the risk from which you would treat. The higher the line there, the more patients gain, "
            "after weighing those treated for nothing. A useful model lies above 'treat all' and 'treat none'."
        ),
    )


def _multiclass(report: StudyReport, curves: Sequence[MulticlassCurves]) -> tuple[Picture, ...]:
    return tuple(
        _picture(
            f"confusion-{entry.setting.replace('_', '-')}",
            f"Confusion matrix: {setting_of(entry.setting, private=report.privacy.private).title}",
            lambda axes, entry=entry: _confusion(axes, entry),
            description=f"Records of {', '.join(entry.levels)} by the class that was predicted.",
            caption=(
                "Rows: true class; columns: predicted class; in each field the share of its row, and the number "
                "of records."
            ),
            legend=False,
        )
        for entry in curves
    )


def _confusion(axes: Axes, curves: MulticlassCurves) -> None:
    counts = np.asarray(curves.confusion, dtype=np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, column in np.ndindex(*counts.shape):
        # Opacity instead of a colour map: readable on light and on dark.
        axes.fill_between(
            [column - 0.47, column + 0.47],
            row - 0.47,
            row + 0.47,
            color=PALETTE[0],
            alpha=0.75 * shares[row, column],
            linewidth=0,
        )
        axes.text(
            column, row, f"{shares[row, column]:.0%}\n{int(counts[row, column])}", ha="center", va="center", fontsize=10
        )
    axes.set_xticks(range(len(curves.levels)), list(curves.levels), rotation=30 if len(curves.levels) > 3 else 0)  # noqa: PLR2004
    axes.set_yticks(range(len(curves.levels)), list(curves.levels))
    axes.set_xlim(-0.5, len(curves.levels) - 0.5)
    axes.set_ylim(len(curves.levels) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")


def _regression(report: StudyReport, curves: Sequence[RegressionCurves]) -> tuple[Picture, ...]:
    if not curves:
        return ()
    unit = "" if curves[0].unit in {"", "dimensionless"} else f" ({curves[0].unit})"

    def predicted(axes: Axes) -> None:
        ends = [point.predicted for entry in curves for point in entry.bins]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=QUIET, linewidth=1, label="perfect")
        for entry in curves:
            color, marker, dash = style_of(entry.setting)
            x, y = [point.predicted for point in entry.bins], [point.observed for point in entry.bins]
            axes.plot(
                x,
                y,
                color=color,
                marker=marker,
                markersize=4,
                linestyle=dash,
                linewidth=1.2,
                label=_short(report, entry.setting),
            )
        axes.set_xlabel(f"Predicted {report.outcome}{unit}")
        axes.set_ylabel(f"Observed {report.outcome}{unit}")

    def residuals(axes: Axes) -> None:
        for entry in curves:
            color, _, dash = style_of(entry.setting)
            shares = np.asarray(entry.residual_counts) / max(1, sum(entry.residual_counts))
            label = _short(report, entry.setting)
            axes.stairs(shares, entry.residual_edges, color=color, linestyle=dash, linewidth=1.3, label=label)
        axes.axvline(0, color=QUIET, linewidth=1)
        axes.set_xlabel(f"Predicted − observed{unit}")
        axes.set_ylabel("Share of records")

    return (
        _picture(
            "predicted-observed",
            "Predicted against observed",
            predicted,
            description=(
                f"Mean observed against mean predicted {report.outcome} of {_names(report, curves)}, in up to ten "
                "groups."
            ),
            caption=(
                "Patients grouped by predicted value: a point on the line means that the prediction is right on "
                "average."
            ),
        ),
        _picture(
            "residuals",
            "Errors",
            residuals,
            description=f"Distribution of the errors of {_names(report, curves)}.",
            caption="Narrow and centred on zero is better. The outermost bars hold everything beyond.",
        ),
    )


def _picture(
    name: str, title: str, draw: Callable[[Axes], None], *, description: str, caption: str, legend: bool = True
) -> Picture:
    def draw_all(axes: Axes) -> None:
        draw(axes)
        if legend:
            legend_below(axes)

    return Picture(
        name=name, title=title, description=description, svg=draw_svg(name, draw_all, height=330), caption=caption
    )


def _lines(axes: Axes, report: StudyReport, lines: Sequence[tuple[str, Line]]) -> None:
    for setting, line in lines:
        color, _, dash = style_of(setting)
        axes.plot(line.x, line.y, color=color, linestyle=dash, label=_short(report, setting))


def _unit_square(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)


def _short(report: StudyReport, setting: str) -> str:
    return setting_of(setting, private=report.privacy.private).short


def _names(report: StudyReport, curves: Sequence[BinaryCurves | MulticlassCurves | RegressionCurves]) -> str:
    return ", ".join(setting_of(entry.setting, private=report.privacy.private).title for entry in curves)
