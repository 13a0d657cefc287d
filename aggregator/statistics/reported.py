"""What a report shows of a study's statistics: tables that a page has room for, and figures. All of it is in ``statistics/``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aggregator.report.figures import Picture, own_ids
from aggregator.report.statistics_content import ReportedAnalysis
from aggregator.statistics.figures import analysis_files
from federation.statistics.result import Cell, StudyAnalysis, Table

MOST_ROWS: Final = 30
_HIDDEN: Final = frozenset({"loadings", "days"})
"""Tables of many numbers that only programs and figures read."""
_OF_VARIANTS: Final = (
    "chromosome", "variant", "position", "allele", "frequency", "beta", "odds ratio", "standard error", "p",
)  # fmt: skip
_TITLES: Final = {
    "": "Result",
    "manhattan": "Associations along the genome",
    "qq": "Observed and expected p-values",
    "reliability": "Predicted and observed risk",
    "by_site": "Observed over expected",
    "risk_groups": "Risk groups",
    "reach": "What a capacity reaches",
    "needed": "Patients to follow up for one outcome",
    "stays": "Mean stays",
}


def reported(analyses: Sequence[StudyAnalysis]) -> tuple[ReportedAnalysis, ...]:
    """A study's analyses as its report shows them."""
    return tuple(_one(analysis) for analysis in analyses)


def analysis_pictures(analyses: Sequence[StudyAnalysis], *, outcome: str) -> tuple[Picture, ...]:
    """The figures of a study's analyses, with names that are unique on a page.

    Args:
        analyses: Of the study.
        outcome: What its predictions are about.
    """
    found: list[Picture] = []
    for analysis in analyses:
        for name, content in analysis_files(analysis, outcome=outcome).items():
            if not name.endswith(".svg"):
                continue
            what = name.removesuffix(".svg").removeprefix(analysis.name).removeprefix("-")
            title = f"{analysis.name}: {_title(what).lower()}"
            unique = f"statistics-{name.removesuffix('.svg')}"
            found.append(
                Picture(
                    name=unique,
                    title=title,
                    description=f"{title}. The numbers are in the file of the analysis.",
                    svg=own_ids(content.decode(), unique),
                    caption=f"From statistics/{analysis.name}.json.",
                )
            )
    return tuple(found)


def _one(analysis: StudyAnalysis) -> ReportedAnalysis:
    result = analysis.result
    if result is None:
        return ReportedAnalysis(name=analysis.name, kind="", reason=analysis.reason or analysis.error)
    return ReportedAnalysis(
        name=analysis.name,
        kind=result.analysis,
        patients=result.patients,
        sites=result.sites,
        left_out=result.left_out,
        figures=result.figures,
        tables=tuple(_shown(table) for table in result.tables if table.name not in _HIDDEN and table.rows),
        notes=result.notes,
        sums=result.steps,
    )


def _shown(table: Table) -> Table:
    if table.name == "association":
        return _strongest(table)
    if len(table.rows) <= MOST_ROWS:
        return table
    title = f"{table.title}: the first {MOST_ROWS} of {len(table.rows)} rows"
    return table.model_copy(update={"title": title, "rows": table.rows[:MOST_ROWS]})


def _strongest(table: Table) -> Table:
    """The variants with the smallest p-values, in a few columns."""
    of_p = table.columns.index("p")

    def p_of(row: tuple[Cell, ...]) -> float:
        return float(row[of_p] or 0.0)

    rows = sorted((row for row in table.rows if row[of_p] is not None), key=p_of)[:MOST_ROWS]
    places = [table.columns.index(name) for name in _OF_VARIANTS if name in table.columns]
    return Table(
        name=table.name,
        title=f"The {len(rows)} strongest of {len(table.rows)} variants",
        columns=tuple(table.columns[place] for place in places),
        rows=tuple(tuple(row[place] for place in places) for row in rows),
    )


def _title(what: str) -> str:
    if what.startswith("beds_"):
        return f"Occupied beds, {what.removeprefix('beds_')} days ahead"
    return _TITLES.get(what, what)
