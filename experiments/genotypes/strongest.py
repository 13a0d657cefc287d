"""The rows of an association table that a reader looks for."""

from __future__ import annotations

from typing import Final

from federation.statistics.result import Table

_ROWS: Final = 10
_COLUMNS: Final = ("chromosome", "variant", "position", "allele", "other", "frequency", "beta", "odds ratio", "p")


def strongest(table: Table, rows: int = _ROWS) -> Table:
    """The variants with the smallest p-values, in a few columns; any other table as it is."""
    if table.name != "association":
        return table
    of_p = table.columns.index("p")
    ranked = sorted((row for row in table.rows if row[of_p] is not None), key=lambda row: float(row[of_p] or 0))[:rows]
    places = [table.columns.index(name) for name in _COLUMNS if name in table.columns]
    return table.model_copy(
        update={
            "title": f"The {len(ranked)} strongest of {len(table.rows)} variants",
            "columns": tuple(table.columns[place] for place in places),
            "rows": tuple(tuple(row[place] for place in places) for row in ranked),
        }
    )
