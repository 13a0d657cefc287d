"""Figures of alarms: sensitivity against their rate, and how long before the onset they come."""

from __future__ import annotations

from aggregator.report.figures import DASHES, INK, PALETTE, QUIET, Axes, draw_png, draw_svg, legend_below
from federation.statistics.alarms import AlarmCurve

_WIDTH, _HEIGHT = 520, 360
_SHOWN_RATE = 6.0
"""More alarms than one in four hours are no option, and not drawn."""


def alarm_figures(curve: AlarmCurve, *, alarms_per_day: float) -> dict[str, bytes]:
    """File name to content: both figures as SVG and PNG.

    Args:
        curve: Over all sites.
        alarms_per_day: The rate that is marked, and of which lead times are shown.
    """
    found: dict[str, bytes] = {}
    for name, draw in (
        ("sensitivity", lambda axes: _draw_sensitivity(axes, curve, alarms_per_day)),
        ("lead_times", lambda axes: _draw_lead(axes, curve, alarms_per_day)),
    ):
        found[f"{name}.svg"] = draw_svg(name, draw, width=_WIDTH, height=_HEIGHT).encode()
        found[f"{name}.png"] = draw_png(draw, width=_WIDTH, height=_HEIGHT)
    return found


def _draw_sensitivity(axes: Axes, curve: AlarmCurve, rate: float) -> None:
    shown = curve.alarms_per_day <= _SHOWN_RATE
    axes.plot(curve.alarms_per_day[shown], curve.sensitivity[shown], color=PALETTE[0], marker=".", label="all alarms")
    axes.plot(
        curve.false_alarms_per_day[shown],
        curve.sensitivity[shown],
        color=PALETTE[1],
        linestyle=DASHES[1],
        label="false alarms only",
    )
    axes.axvline(rate, color=QUIET, linestyle=":", linewidth=1.2)
    place = curve.at_rate(rate)
    if place is not None:
        axes.plot([curve.alarms_per_day[place]], [curve.sensitivity[place]], color=INK, marker="o", linestyle="")
    axes.set_xlim(left=0.0)
    axes.set_ylim(0.0, 1.02)
    axes.set_xlabel("alarms per patient-day")
    axes.set_ylabel("share of onsets with an alarm before them")
    legend_below(axes, columns=2)


def _draw_lead(axes: Axes, curve: AlarmCurve, rate: float) -> None:
    """Share of all onsets that had an alarm at least so long before."""
    places = [place for place in (curve.at_rate(rate), curve.at_rate(2 * rate)) if place is not None]
    width = curve.horizon_hours / curve.lead.shape[1]
    edges = [width * place for place in range(curve.lead.shape[1] + 1)]
    for number, place in enumerate(dict.fromkeys(places)):
        counts = curve.lead[place]
        beyond = [float(counts[start:].sum()) / curve.onsets for start in range(len(counts) + 1)]
        axes.step(
            edges,
            beyond,
            where="post",
            color=PALETTE[number],
            linestyle=DASHES[number],
            label=f"{curve.alarms_per_day[place]:.2g} alarms per patient-day",
        )
    axes.set_xlim(0.0, curve.horizon_hours)
    axes.set_ylim(0.0, 1.02)
    axes.set_xlabel("hours from the first alarm to the onset, at least")
    axes.set_ylabel("share of onsets")
    legend_below(axes, columns=1)
