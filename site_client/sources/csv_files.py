"""Text files of separated values: what is in them, checked before DuckDB reads them.

A first line is shown to nobody until it has proved to be a header: a file without one begins with a patient.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

from federation.errors import CohortTooSmallError, RecordsUnreadableError
from site_client.sources.codes import code_text
from site_client.sources.database import identifier, literal
from site_client.sources.mapping import CsvSource

_NATIVE_ENCODINGS: Final = {"utf-8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16", "iso8859-1": "latin-1"}
"""Python's name to DuckDB's, for the encodings that DuckDB reads without an extension."""

_DELIMITERS: Final = {",": "','", ";": "';'", "\t": "tab", "|": "'|'", " ": "space"}

_LONGEST_LINE: Final = 4_000_000
"""Characters; a file without line ends must not be read as one line."""

_BUFFER_BYTES: Final = 8_000_000
"""DuckDB holds several of these; its default of 32 MB each would not fit a small memory limit."""
_LEAST_BUFFER_BYTES: Final = 1_000_000
"""A small file gets a small one: fresh memory takes a third of the time that reading it takes."""

_PART_BYTES: Final = 1 << 20
_BLANKS_AND_QUOTE: Final = b' \t\r\xa0"'

_DAMAGE: Final = (csv.Error, OSError, EOFError, zlib.error)


def native_encoding(source: CsvSource) -> str | None:
    """DuckDB's name of the file's encoding, or ``None`` if Python has to decode it."""
    return _NATIVE_ENCODINGS.get(codecs.lookup(source.encoding).name)


def is_compressed(source: CsvSource, path: Path) -> bool:
    """Whether the file is gzip."""
    return source.compression == "gzip" or (source.compression == "auto" and path.suffix == ".gz")


def column_names(source: CsvSource, path: Path, wanted: Sequence[str] | None, *, site: str) -> tuple[str, ...]:
    """Names of the file's columns, distinct for DuckDB, after a look at its first line.

    Args:
        source: How the file is written.
        path: Where it is.
        wanted: Columns that the mapping uses; ``None`` if it has a query, whose names may be others.
        site: For the message.

    Raises:
        CohortTooSmallError: The file is empty.
        RecordsUnreadableError: Wrong separator, encoding or number of columns, or a wanted column is absent.
    """
    first = _first_row(source, path, site=site)
    if source.header:
        names = tuple(first)
    elif source.column_names is None:
        names = tuple(f"column_{index}" for index in range(1, len(first) + 1))
    else:
        names = source.column_names
        if len(names) != len(first):
            raise RecordsUnreadableError(
                f"expected {len(names)} columns, as in column_names, got {len(first)} in the first line",
                site=site,
                remedy=_other_delimiter(source, first) or "correct source.column_names in the mapping",
            )
    if wanted is not None:
        _check_present(source, names, first, wanted, site=site)
    return _distinct(names, wanted or (), site=site)


def read_csv_sql(source: CsvSource, path: Path, names: Sequence[str], *, encoding: str) -> str:
    """A SELECT over the file, every column as text, nothing guessed."""
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    nulls = ", ".join(literal(text) for text in ("", *map(code_text, source.null_values)))
    return (
        f"SELECT {', '.join(map(identifier, names))} FROM read_csv({literal(str(path))}, auto_detect = false, "  # noqa: S608 - quoted
        f"columns = {{{columns}}}, header = {source.header}, delim = {literal(source.delimiter)}, quote = '\"', "
        f"escape = '\"', nullstr = [{nulls}], encoding = {literal(encoding)}, "
        f"buffer_size = {_buffer_bytes(source, path)}, compression = {literal('gzip' if is_compressed(source, path) else 'none')})"
    )


def _buffer_bytes(source: CsvSource, path: Path) -> int:
    """Room for the whole file, if it is small: then for its longest line, too."""
    if is_compressed(source, path):
        return _BUFFER_BYTES
    return min(_BUFFER_BYTES, max(_LEAST_BUFFER_BYTES, path.stat().st_size + 1))


def may_have_blanks(source: CsvSource, path: Path) -> bool:
    """Whether a value of the file may begin or end with a blank; ``False`` only if its bytes show that none does."""
    if is_compressed(source, path) or native_encoding(source) not in {"utf-8", "latin-1"}:
        return True
    with path.open("rb") as content:
        if source.header:
            content.readline(_LONGEST_LINE)
        # A quote may hold a line end, and a carriage return may be a part of one.
        return any(byte in part for part in iter(lambda: content.read(_PART_BYTES), b"") for byte in _BLANKS_AND_QUOTE)


def decoded_rows(source: CsvSource, path: Path, num_columns: int, *, site: str) -> Generator[list[str | None]]:
    """The file's rows one by one, for an encoding that DuckDB does not read.

    Raises:
        RecordsUnreadableError: Bytes of another encoding, or a line with another number of columns.
    """
    nulls = {"", *map(code_text, source.null_values)}
    line = 0
    problem = ""
    try:
        with _open_text(source, path) as text:
            reader = csv.reader(_lines(text), delimiter=source.delimiter, strict=True)
            if source.header:
                next(reader, None)
            for row in reader:
                line = reader.line_num
                if row and len(row) != num_columns:
                    problem = f"{len(row)} instead of {num_columns} columns"
                    break
                if row:
                    yield [None if value in nulls else value for value in row]
    except UnicodeDecodeError:
        problem = f"bytes that are not {source.encoding}"
    except _DAMAGE as failure:
        problem = f"a damaged file ({type(failure).__name__})"
    if problem:
        raise RecordsUnreadableError(
            f"expected a readable table, got {problem} at about line {line + 1}",
            site=site,
            remedy="correct source.encoding, source.delimiter or that line",
        )


def _open_text(source: CsvSource, path: Path) -> io.TextIOWrapper:
    binary = gzip.open(path, "rb") if is_compressed(source, path) else path.open("rb")  # noqa: SIM115 - closed by the wrapper
    name = codecs.lookup(source.encoding).name
    return io.TextIOWrapper(binary, encoding="utf-8-sig" if name == "utf-8" else name, newline="")


def _lines(text: io.TextIOWrapper) -> Generator[str]:
    while line := text.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise csv.Error("a line without end")
        yield line


def _first_row(source: CsvSource, path: Path, *, site: str) -> list[str]:
    problem = ""
    row: list[str] | None = None
    try:
        with _open_text(source, path) as text:
            row = next(csv.reader(_lines(text), delimiter=source.delimiter, strict=True), None)
    except UnicodeDecodeError:
        problem = f"bytes that are not {source.encoding}"
    except _DAMAGE as failure:
        problem = f"{type(failure).__name__}"
    if problem:
        raise RecordsUnreadableError(
            f"expected {path.name} to be text of separated values, got {problem}",
            site=site,
            remedy="set source.encoding (such as latin-1 or cp1252) and source.compression in the mapping",
        )
    if row is None:
        raise CohortTooSmallError(
            f"expected records, got the empty file {path.name}", site=site, remedy="export the table again"
        )
    return row


def _check_present(
    source: CsvSource, names: Sequence[str], first: Sequence[str], wanted: Sequence[str], *, site: str
) -> None:
    absent = [name for name in wanted if name not in names]
    if not absent:
        return
    # Names are shown only if some of them are as expected: otherwise the line may well be a patient's.
    proven = source.header and len(absent) < len(wanted)
    found = f": {list(names)}" if proven else ""
    close = [
        f"{near[0]!r} for {name!r}"
        for name in absent
        if source.header and (near := difflib.get_close_matches(name, names, n=1, cutoff=0.75))
    ]
    remedy = _other_delimiter(source, first) or (
        f"perhaps {', '.join(close)}: correct `column` in the mapping"
        if close
        else "correct `column`, source.delimiter, source.header or source.column_names in the mapping"
    )
    raise RecordsUnreadableError(
        f"expected the columns {absent}, got {len(names)} other column{'s' if len(names) != 1 else ''}{found}",
        site=site,
        remedy=remedy,
    )


def _other_delimiter(source: CsvSource, first: Sequence[str]) -> str:
    line = "".join(first)
    counts = {character: line.count(character) for character in _DELIMITERS if character != source.delimiter}
    best = max(counts, key=lambda character: counts[character])
    if len(first) > 1 or counts[best] == 0:
        return ""
    return f"the first line holds {counts[best]} of {_DELIMITERS[best]}: set source.delimiter in the mapping"


def _distinct(names: Sequence[str], wanted: Sequence[str], *, site: str) -> tuple[str, ...]:
    """Names that DuckDB, which ignores case, can tell apart; a wanted one must be so already."""
    folded = [name.casefold() for name in names]
    doubtful = [name for name in wanted if folded.count(name.casefold()) > 1]
    if doubtful:
        raise RecordsUnreadableError(
            f"expected one column of the name {doubtful[0]!r}, got {folded.count(doubtful[0].casefold())}",
            site=site,
            remedy="rename them in the file, or read it with header: false and column_names",
        )
    seen: set[str] = set()
    distinct: list[str] = []
    for position, name in enumerate(names, start=1):
        unique = name if name and name.casefold() not in seen else f"{name}__{position}"
        seen.add(unique.casefold())
        distinct.append(unique)
    return tuple(distinct)
