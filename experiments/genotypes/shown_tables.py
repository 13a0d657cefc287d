"""The tables of an association study as a terminal has room for."""

from __future__ import annotations

from typing import Final

from federation.statistics.result import Table

_ROWS: Final = 10
_COLUMNS: Final = ("chromosome", "variant", "allele", "frequency", "beta", "odds ratio", "p")
_SHORT: Final = {
    "chromosome": "chr",
    "flipped and swapped": "both",
    "other alleles": "alleles",
    "other position": "position",
}


def for_terminal(table: Table, rows: int = _ROWS) -> Table:
    """Of associations the variants with the smallest p-values, in a few columns; of alignments what happened at all."""
    match table.name:
        case "association":
            return _columns(strongest(table, rows), [name for name in _COLUMNS if name in table.columns])
        case "alignment":
            return _columns(table, [name for name in table.columns if any(table.column(name))])
        case "weights":
            return _columns(table, ["chromosome", "variant", "allele", "weight", "p"])
        case _:
            return table


def strongest(table: Table, rows: int) -> Table:
    """The variants with the smallest p-values."""
    of_p = table.columns.index("p")
    ranked = sorted((row for row in table.rows if row[of_p] is not None), key=lambda row: float(row[of_p] or 0))[:rows]
    title = f"The {len(ranked)} strongest of {len(table.rows)} variants"
    return table.model_copy(update={"title": title, "rows": tuple(ranked)})


def _columns(table: Table, names: list[str]) -> Table:
    places = [table.columns.index(name) for name in names]
    rows = tuple(tuple(row[place] for place in places) for row in table.rows)
    return table.model_copy(update={"columns": tuple(_SHORT.get(name, name) for name in names), "rows": rows})
