"""What an import brings together before it becomes a store: files that were read, and files that could not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from federation.data.arrays import Image, Mask
from federation.documents import Document
from federation.errors import RecordsUnreadableError
from site_client.arrays.store import ArrayWriter, StoredFile, write_store
from site_client.images.deidentification import Findings, MissingBurnedIn, in_words

STEPS: Final = 65_535
"""Of the contract's range: images are kept as 16-bit whole numbers."""
IMPLAUSIBLE_VALUES: Final = "too many values outside the contract's range"
_SHOWN_LINES: Final = 5


@dataclass(frozen=True)
class ImportChoice:
    """What the site decides about an import.

    Args:
        on_unreadable: ``stop``: nothing is imported if a file cannot be used; ``count``: its record stays without it.
        missing_burned_in: What to do where a file of a modality at risk does not say whether text is burnt in.
        generated: Whether the images belong to nobody.
        made_by: What made the store, in words.
    """

    on_unreadable: Literal["stop", "count"] = "stop"
    missing_burned_in: MissingBurnedIn = "refuse"
    generated: bool = False
    made_by: str = "cohortium site images import"


class ImportedArray(Document):
    """What became of one variable's files."""

    name: str
    imported: int
    missing: int
    unreadable: dict[str, int]
    """Reason to number of records."""
    implausible: int
    done: tuple[str, ...]


class ImportReport(Document):
    """What an import did. It stays at the site."""

    store: str
    records: int
    arrays: tuple[ImportedArray, ...]
    warnings: dict[str, int]
    """What a person should look at, and in how many files."""


@dataclass
class Column:
    """One variable on its way into the store."""

    variable: Image | Mask
    files: list[str]
    writer: ArrayWriter
    cells: list[str] = field(default_factory=list[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    lines: list[int] = field(default_factory=list[int])
    done: list[str] = field(default_factory=list[str])


def stop_if_asked(made: list[Column], choice: ImportChoice) -> None:
    """Stop where files could not be used and the site says so, or nothing is left.

    Raises:
        RecordsUnreadableError: With reasons, counts and lines of the table; no file name, which may hold one.
    """
    for column in made:
        used, lines = column.writer.rows, column.lines
        if (lines and choice.on_unreadable == "stop") or not used:
            reasons = in_words(
                {reason: count for reason, count in column.reasons.items() if reason != IMPLAUSIBLE_VALUES}
            )
            more = f" and {len(lines) - _SHOWN_LINES} more" if len(lines) > _SHOWN_LINES else ""
            shown = ", ".join(map(str, lines[:_SHOWN_LINES]))
            raise RecordsUnreadableError(
                f"expected readable images, got {len(lines)} that are not: {reasons or 'none at all'}"
                + (f"; lines {shown}{more} of the table" if lines else ""),
                variable=column.variable.name,
                remedy="export these files again, or let their records be left out and counted with --on-unreadable count",
            )


def finished(
    store: Path,
    table: Mapping[str, list[str]],
    columns: Mapping[str, str],
    made: list[Column],
    *,
    findings: Findings,
    choice: ImportChoice,
) -> ImportReport:
    """Finish the array files, and write table and description.

    Args:
        store: The store's folder.
        table: The site's own table.
        columns: Variable to the column of its file names, which is not kept.
        made: Every variable with its cells.
        findings: Of the headers, for the report.
        choice: Of the site.
    """
    kept = {name: texts for name, texts in table.items() if name not in columns.values()}
    files: list[StoredFile] = []
    arrays: list[ImportedArray] = []
    for column in made:
        variable, rows = column.variable, column.writer.rows
        is_mask = isinstance(variable, Mask)
        window = () if is_mask else (f"window {variable.minimum:g} to {variable.maximum:g} {variable.unit}",)
        done = (*column.done, *window)
        files.append(
            StoredFile(
                name=variable.name,
                shape=variable.shape,
                dtype="uint8" if is_mask else "uint16",
                rows=rows,
                unit="dimensionless" if is_mask else variable.unit,
                step=1.0 if is_mask else (variable.maximum - variable.minimum) / STEPS,
                start=0.0 if is_mask else variable.minimum,
                sha256=column.writer.close(),
                done=done,
                not_used=dict(column.reasons),
            )
        )
        implausible = column.reasons.pop(IMPLAUSIBLE_VALUES, 0)
        kept[variable.name] = column.cells
        arrays.append(
            ImportedArray(
                name=variable.name,
                imported=rows,
                missing=column.cells.count(""),
                unreadable=dict(column.reasons),
                implausible=implausible,
                done=done,
            )
        )
    description = write_store(store, table=kept, arrays=files, made_by=choice.made_by, generated=choice.generated)
    return ImportReport(
        store=str(store), records=description.records, arrays=tuple(arrays), warnings=dict(findings.warnings)
    )
