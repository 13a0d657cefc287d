"""Figures of association studies: Manhattan and quantile-quantile plots.

Axis names: V variants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aggregator.report.figures import INK, PALETTE, QUIET, Axes, draw_png, draw_svg
from federation.statistics.result import AnalysisResult, Table

FloatArray = NDArray[np.float64]
GENOME_WIDE: Final = 5e-8
"""The usual limit of genome-wide significance (Pe'er et al. 2008)."""
_SMALLEST: Final = 1e-300
_COLUMNS_OF_POINTS: Final = 600
_ROWS_OF_POINTS: Final = 200
_GAP: Final = 2e7
"""Base pairs drawn between chromosomes."""
_SEXES: Final = {"X": 23, "Y": 24, "XY": 25, "MT": 26, "M": 26}
_MOST_LABELS: Final = 23
_OTHERS: Final = 99


def genotype_figure_files(result: AnalysisResult) -> dict[str, bytes]:
    """File name to content: both figures as SVG and PNG. Empty for a result without associations."""
    tables = [table for table in result.tables if table.name == "association"]
    if not tables or not np.isfinite(tables[0].numbers("p")).any():
        return {}
    table, inflation = tables[0], result.figures.get("genomic inflation")
    drawings: dict[str, tuple[Callable[[Axes], None], float, float]] = {
        "manhattan": (lambda axes: draw_manhattan(axes, table), 900.0, 340.0),
        "qq": (lambda axes: draw_quantiles(axes, table, inflation), 380.0, 360.0),
    }
    files: dict[str, bytes] = {}
    for name, (draw, width, height) in drawings.items():
        files[f"{name}.svg"] = draw_svg(name, draw, width=width, height=height).encode()
        files[f"{name}.png"] = draw_png(draw, width=width, height=height)
    return files


def draw_manhattan(axes: Axes, table: Table) -> None:
    """Minus the logarithm of each p-value over the variants' places in the genome.

    Args:
        axes: To draw on.
        table: ``association``.
    """
    p = np.array(table.numbers("p"))
    is_drawn = np.isfinite(p)
    chromosomes = np.array([_number(str(name)) for name in table.column("chromosome")])[is_drawn]
    positions = np.array(table.numbers("position"))[is_drawn]
    height = -np.log10(np.maximum(p[is_drawn], _SMALLEST))
    start = 0.0
    along = np.empty(len(height))
    centres: list[float] = []
    names: list[str] = []
    for chromosome in np.unique(chromosomes).tolist():
        chosen = chromosomes == chromosome
        along[chosen] = start + positions[chosen] - positions[chosen].min()
        end = float(along[chosen].max()) + 1.0
        centres.append((start + end) / 2)
        names.append(_name(chromosome))
        start = end + _GAP
    kept = _distinct(along, height)
    _, order = np.unique(chromosomes, return_inverse=True)
    for parity, color in enumerate((PALETTE[0], QUIET)):
        shown = kept[order[kept] % 2 == parity]
        axes.plot(along[shown], height[shown], color=color, marker="o", markersize=2.6, linestyle="")
    axes.axhline(-np.log10(GENOME_WIDE), color=PALETTE[1], linestyle="--", linewidth=1.0)
    is_labelled = [place < _MOST_LABELS and (place < 12 or place % 2 == 1) for place in range(len(names))]  # noqa: PLR2004 - room
    axes.set_xticks(centres, [name if shown else "" for name, shown in zip(names, is_labelled, strict=True)])
    axes.set_xlim(-_GAP, start)
    axes.set_ylim(0.0, max(float(height.max()), -np.log10(GENOME_WIDE)) * 1.06)
    axes.set_xlabel("chromosome")
    axes.set_ylabel("−log₁₀ p")


def draw_quantiles(axes: Axes, table: Table, inflation: float | None) -> None:
    """Observed p-values over those expected where no variant has an effect, with a pointwise 95 % band.

    Args:
        axes: To draw on.
        table: ``association``.
        inflation: Genomic inflation, written into the figure.
    """
    p = np.array(table.numbers("p"))
    observed = -np.log10(np.maximum(np.sort(p[np.isfinite(p)]), _SMALLEST))
    ranks = np.arange(1, len(observed) + 1)
    expected = -np.log10((ranks - 0.5) / len(observed))
    kept = _distinct(expected, observed)
    band = np.unique(np.geomspace(1, len(observed), 200).astype(np.int64))
    lower, upper = (stats.beta.ppf(tail, band, len(observed) + 1 - band) for tail in (0.025, 0.975))
    axes.fill_between(expected[band - 1], -np.log10(upper), -np.log10(lower), color=QUIET, alpha=0.25, linewidth=0)
    most = float(expected.max())
    axes.plot([0, most], [0, most], color=QUIET, linestyle=":", linewidth=1.2)
    axes.plot(expected[kept], observed[kept], color=PALETTE[0], marker="o", markersize=2.6, linestyle="")
    if inflation is not None:
        axes.text(0.04, 0.95, f"inflation {inflation:.3f}", transform=axes.transAxes, color=INK, va="top")
    axes.set_xlabel("expected −log₁₀ p")
    axes.set_ylabel("observed −log₁₀ p")
    axes.set_xlim(left=0.0)
    axes.set_ylim(bottom=0.0)


def _distinct(across: FloatArray, up: FloatArray) -> NDArray[np.int64]:
    """One of the points that fall on the same spot: a figure of a million variants is as large as one of thousands."""
    columns = np.floor(across / max(float(np.ptp(across)), 1e-9) * _COLUMNS_OF_POINTS)
    rows = np.floor(up / max(float(up.max()), 1e-9) * _ROWS_OF_POINTS)
    _, kept = np.unique(np.stack([columns, rows]), axis=1, return_index=True)
    return np.sort(kept)


def _number(name: str) -> int:
    return int(name) if name.isdecimal() else _SEXES.get(name.upper(), _OTHERS)


def _name(number: int) -> str:
    of_number = {23: "X", 24: "Y", 25: "XY", 26: "MT", _OTHERS: "other"}
    return of_number.get(number, str(number))
