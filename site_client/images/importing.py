"""An import: a folder of image files and a table become a store, if nobody can be recognised in them.

Two passes. The first looks at the header of every file, and nothing is written before it has passed. The second decodes one
picture at a time, fits it to the contract and adds it to the store, so memory holds one picture. Values outside the contract's
range are moved to its bounds, the window; what is kept is 16-bit whole numbers over that range, 8-bit for masks.

Whatever fails, no part of a store is left that looks like one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from federation.data.arrays import Image, Mask, is_implausible
from federation.data.contract import DataContract
from federation.documents import Document
from federation.errors import InvalidInputError, ManifestError, PrivacyRefusedError, RecordsUnreadableError
from site_client.arrays.store import IMPLAUSIBLE, STORE_FILE, UNREADABLE, ArrayWriter, StoredFile, write_store
from site_client.images.deidentification import Findings, MissingBurnedIn, in_words
from site_client.images.picture import Unreadable
from site_client.images.reading import check_header, content_of, fitted, picture_of

_STEPS: Final = 65_535
_SHOWN_LINES: Final = 5
Progress = Callable[[str, int, int], None]
"""Called with the pass's name, files done and files in all."""


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
class _Column:
    """One variable on its way into the store."""

    variable: Image | Mask
    files: list[str]
    writer: ArrayWriter
    cells: list[str] = field(default_factory=list[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    lines: list[int] = field(default_factory=list[int])
    done: list[str] = field(default_factory=list[str])


def import_images(
    folder: Path,
    *,
    table: Mapping[str, list[str]],
    columns: Mapping[str, str],
    contract: DataContract,
    store: Path,
    choice: ImportChoice,
    progress: Progress = lambda *_: None,
) -> ImportReport:
    """Make a store.

    Args:
        folder: File names of the table are relative to it; nothing outside of it is read.
        table: Column to texts, one for each record.
        columns: Image or mask variable to the column of its file names; these columns are not kept.
        contract: Supplies shapes and ranges.
        store: Folder to make; must be new or empty.
        choice: What the site decides.
        progress: Is told of every file.

    Raises:
        PrivacyRefusedError: If a header still says whose the image is, naming attributes; nothing was written.
        RecordsUnreadableError: If a file cannot be used and ``choice`` says stop, or nothing is left.
        ManifestError: If the contract has a signal.
        InvalidInputError: If the store's folder is not empty.
    """
    variables = _variables(contract)
    findings = _checked(folder, table, columns, choice=choice, progress=progress)
    with _new_folder(store), contextlib.ExitStack() as open_files:
        made: list[_Column] = []
        for variable in variables:
            dtype = "uint8" if isinstance(variable, Mask) else "uint16"
            writer = ArrayWriter(store / f"{variable.name}.npy", shape=variable.shape, dtype=dtype)
            open_files.callback(writer.abandon)
            made.append(_Column(variable, table[columns[variable.name]], writer))
        for number, column in enumerate(made):
            for line, name in enumerate(column.files):
                _add(column, folder, name, line=line, choice=choice)
                progress("importing", number * len(column.files) + line + 1, len(made) * len(column.files))
        _stop_if_asked(made, choice)
        return _finished(store, table, columns, made, findings=findings, choice=choice)


def _variables(contract: DataContract) -> list[Image | Mask]:
    found = [variable for variable in contract.arrays if isinstance(variable, Image | Mask)]
    if len(found) != len(contract.arrays) or not found:
        raise ManifestError(
            f"expected a contract with images and without signals, got the arrays {[each.name for each in contract.arrays]}",
            remedy="give the contract of a study of images",
        )
    return found


def _checked(
    folder: Path,
    table: Mapping[str, list[str]],
    columns: Mapping[str, str],
    *,
    choice: ImportChoice,
    progress: Progress,
) -> Findings:
    """Look at every header before anything is written."""
    names = sorted({name for column in columns.values() for name in table[column] if name})
    findings = Findings()
    for number, name in enumerate(names):
        content = _content(folder, name)
        if not isinstance(content, Unreadable):
            check_header(content, findings, missing=choice.missing_burned_in)
        progress("checking that nobody can be recognised", number + 1, len(names))
    refuse_identifying(findings)
    return findings


def refuse_identifying(findings: Findings) -> None:
    """Stop where a header still says whose an image is.

    Raises:
        PrivacyRefusedError: Naming attributes and numbers of files, never what they hold.
    """
    if findings.stops:
        raise PrivacyRefusedError(
            f"expected images in which nobody can be recognised, got {in_words(findings.stops)}",
            remedy="de-identify them by the basic profile of DICOM PS3.15 annex E, and text in the pixels by hand; docs/images.md "
            "says which attributes are looked at",
            attributes=", ".join(sorted(findings.stops)),
        )


def _content(folder: Path, name: str) -> bytes | Unreadable:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        return Unreadable("outside of the folder")
    return content_of(path)


def _add(column: _Column, folder: Path, name: str, *, line: int, choice: ImportChoice) -> None:
    if not name:
        column.cells.append("")
        return
    values = _values(column, folder, name, choice=choice)
    if isinstance(values, Unreadable):
        column.reasons[values.reason] += 1
        column.lines.append(line + 2)  # as an editor counts, after the header
        column.cells.append(str(UNREADABLE))
    elif is_implausible(column.variable, values):
        column.reasons[_IMPLAUSIBLE] += 1
        column.cells.append(str(IMPLAUSIBLE))
    else:
        column.cells.append(str(column.writer.append(_stored(column.variable, values))))


_IMPLAUSIBLE: Final = "too many values outside the contract's range"


def _values(column: _Column, folder: Path, name: str, *, choice: ImportChoice) -> NDArray[np.float32] | Unreadable:
    content = _content(folder, name)
    if isinstance(content, Unreadable):
        return content
    again = Findings()  # the file may have changed since the first pass
    unreadable = check_header(content, again, missing=choice.missing_burned_in)
    refuse_identifying(again)
    picture = unreadable or picture_of(content)
    found = picture if isinstance(picture, Unreadable) else fitted(picture, column.variable)
    if isinstance(found, Unreadable):
        return found
    column.done += [step for step in found[1] if step not in column.done]
    return found[0]


def _stored(variable: Image | Mask, values: NDArray[np.float32]) -> NDArray[np.uint16] | NDArray[np.uint8]:
    if isinstance(variable, Mask):
        return values.astype(np.uint8)
    share = (values.astype(np.float64) - variable.minimum) / (variable.maximum - variable.minimum)
    return np.rint(np.clip(share, 0.0, 1.0) * _STEPS).astype(np.uint16)


def _stop_if_asked(made: list[_Column], choice: ImportChoice) -> None:
    for column in made:
        used, lines = column.writer.rows, column.lines
        if (lines and choice.on_unreadable == "stop") or not used:
            reasons = in_words({reason: count for reason, count in column.reasons.items() if reason != _IMPLAUSIBLE})
            more = f" and {len(lines) - _SHOWN_LINES} more" if len(lines) > _SHOWN_LINES else ""
            shown = ", ".join(map(str, lines[:_SHOWN_LINES]))
            raise RecordsUnreadableError(
                f"expected readable images, got {len(lines)} that are not: {reasons or 'none at all'}"
                + (f"; lines {shown}{more} of the table" if lines else ""),
                variable=column.variable.name,
                remedy="export these files again, or let their records be left out and counted with --on-unreadable count",
            )


def _finished(
    store: Path,
    table: Mapping[str, list[str]],
    columns: Mapping[str, str],
    made: list[_Column],
    *,
    findings: Findings,
    choice: ImportChoice,
) -> ImportReport:
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
                step=1.0 if is_mask else (variable.maximum - variable.minimum) / _STEPS,
                start=0.0 if is_mask else variable.minimum,
                sha256=column.writer.close(),
                done=done,
                not_used=dict(column.reasons),
            )
        )
        implausible = column.reasons.pop(_IMPLAUSIBLE, 0)
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


@contextlib.contextmanager
def _new_folder(store: Path) -> Generator[None]:
    """The store's folder; what an import that fails has put into it goes again."""
    existed = store.exists()
    if existed and (not store.is_dir() or any(store.iterdir())):
        raise InvalidInputError(
            f"expected a new or empty folder for the store, got {store} with something in it",
            remedy="choose another folder; a store is never changed. One without store.json was interrupted: delete it",
        )
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        yield
    except BaseException:
        if not (store / STORE_FILE).exists():
            for path in store.iterdir():
                path.unlink()
            if not existed:
                store.rmdir()
        raise
