"""Figures of quantiles and survival: coverage by level, predicted and observed survival, survival by predicted risk."""

from __future__ import annotations

from collections.abc import Sequence

from aggregator.report.content import StudyReport
from aggregator.report.figures import INK, PALETTE, QUIET, Axes, Picture, draw_svg, legend_below, style_of
from aggregator.report.task_curves import Line, QuantileCurves, SurvivalCurves
from aggregator.report.vocabulary import setting_of

_THIRDS = ("lowest third of risk", "middle third", "highest third")


def quantile_figures(report: StudyReport) -> tuple[Picture, ...]:
    """Observed against nominal coverage."""
    curves = [entry for entry in report.curves if isinstance(entry, QuantileCurves)]
    if not curves:
        return ()

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, label="perfect")
        for entry in curves:
            color, marker, dash = style_of(entry.setting)
            line = entry.coverage
            axes.plot(line.x, line.y, color=color, marker=marker, linestyle=dash, label=_short(report, entry.setting))
        axes.set_xlabel("Level of the predicted quantile")
        axes.set_ylabel("Share of outcomes at or below it")
        legend_below(axes)

    return (
        Picture(
            name="coverage",
            title="Coverage of the predicted quantiles",
            description="Share of outcomes at or below each predicted quantile, against the quantile's level.",
            svg=draw_svg("coverage", draw, height=330),
            caption="A point on the diagonal means that the quantile is right on average; below it, predictions are too low.",
        ),
    )


def survival_figures(report: StudyReport) -> tuple[Picture, ...]:
    """Predicted beside observed survival, and observed survival by predicted risk."""
    curves = [entry for entry in report.curves if isinstance(entry, SurvivalCurves)]
    if not curves:
        return ()
    pictures = [_predicted(report, curves)] if any(entry.predicted for entry in curves) else []
    shown = next((entry for entry in curves if entry.setting == "federated"), curves[0])
    return (*pictures, *([_by_risk(report, shown)] if shown.by_risk else ()))


def _predicted(report: StudyReport, curves: Sequence[SurvivalCurves]) -> Picture:
    def draw(axes: Axes) -> None:
        axes.plot(*_points(curves[0].observed), color=INK, linewidth=2, label="observed (Kaplan-Meier)")
        for entry in curves:
            if entry.predicted is not None:
                color, _, dash = style_of(entry.setting)
                axes.plot(*_points(entry.predicted), color=color, linestyle=dash, label=_short(report, entry.setting))
        _survival_axes(axes, curves[0].unit)

    return Picture(
        name="survival-predicted",
        title="Predicted and observed survival",
        description="Mean predicted event-free survival of each way to train, and Kaplan and Meier's curve, over all sites.",
        svg=draw_svg("survival-predicted", draw, height=330),
        caption="A line on the observed one means that predictions are right on average. All sites' test patients.",
    )


def _by_risk(report: StudyReport, curves: SurvivalCurves) -> Picture:
    def draw(axes: Axes) -> None:
        for number, (line, label) in enumerate(zip(curves.by_risk, _THIRDS, strict=False)):
            axes.plot(*_points(line), color=PALETTE[number], linestyle=("-", "--", ":")[number], label=label)
        _survival_axes(axes, curves.unit)

    title = setting_of(curves.setting, private=report.privacy.private).title
    return Picture(
        name="survival-by-risk",
        title=f"Observed survival by predicted risk: {title}",
        description=f"Kaplan and Meier's curves of three groups of test patients by the risk that '{title}' predicts.",
        svg=draw_svg("survival-by-risk", draw, height=330),
        caption="The further apart the lines, the better the model tells patients apart.",
    )


def _survival_axes(axes: Axes, unit: str) -> None:
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(f"Follow-up ({unit})" if unit else "Follow-up")
    axes.set_ylabel("Event-free")
    legend_below(axes)


def _points(line: Line) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return line.x, line.y


def _short(report: StudyReport, setting: str) -> str:
    return setting_of(setting, private=report.privacy.private).short
