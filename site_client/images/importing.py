"""An import: a folder of image files and a table become a store, if nobody can be recognised in them.

Two passes. The first looks at the header of every file, and nothing is written before it has passed. The second decodes one
picture at a time, fits it to the contract and adds it to the store, so memory holds one picture. Values outside the contract's
range are moved to its bounds, the window; what is kept is 16-bit whole numbers over that range, 8-bit for masks.

Whatever fails, no part of a store is left that looks like one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.data.arrays import Image, Mask, is_implausible
from federation.data.contract import DataContract
from federation.errors import InvalidInputError, ManifestError, PrivacyRefusedError
from site_client.arrays.store import IMPLAUSIBLE, STORE_FILE, UNREADABLE, ArrayWriter
from site_client.images.deidentification import Findings, in_words
from site_client.images.imported import (
    IMPLAUSIBLE_VALUES,
    STEPS,
    Column,
    ImportChoice,
    ImportReport,
    finished,
    stop_if_asked,
)
from site_client.images.picture import Unreadable
from site_client.images.reading import check_header, content_of, fitted, picture_of

Progress = Callable[[str, int, int], None]
"""Called with the pass's name, files done and files in all."""


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
    variables = image_variables(contract)
    findings = _checked(folder, table, columns, choice=choice, progress=progress)
    with _new_folder(store), contextlib.ExitStack() as open_files:
        made: list[Column] = []
        for variable in variables:
            dtype = "uint8" if isinstance(variable, Mask) else "uint16"
            writer = ArrayWriter(store / f"{variable.name}.npy", shape=variable.shape, dtype=dtype)
            open_files.callback(writer.abandon)
            made.append(Column(variable, table[columns[variable.name]], writer))
        for number, column in enumerate(made):
            for line, name in enumerate(column.files):
                _add(column, folder, name, line=line, choice=choice)
                progress("importing", number * len(column.files) + line + 1, len(made) * len(column.files))
        stop_if_asked(made, choice)
        return finished(store, table, columns, made, findings=findings, choice=choice)


def image_variables(contract: DataContract) -> list[Image | Mask]:
    """The images and masks of a contract.

    Raises:
        ManifestError: If it has none, or a signal.
    """
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
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return Unreadable("a name that no file can have")
    return content_of(path) if is_inside else Unreadable("outside of the folder")


def _add(column: Column, folder: Path, name: str, *, line: int, choice: ImportChoice) -> None:
    if not name:
        column.cells.append("")
        return
    values = _values(column, folder, name, choice=choice)
    if isinstance(values, Unreadable):
        column.reasons[values.reason] += 1
        column.lines.append(line + 2)  # as an editor counts, after the header
        column.cells.append(str(UNREADABLE))
    elif is_implausible(column.variable, values):
        column.reasons[IMPLAUSIBLE_VALUES] += 1
        column.cells.append(str(IMPLAUSIBLE))
    else:
        column.cells.append(str(column.writer.append(_stored(column.variable, values))))


def _values(column: Column, folder: Path, name: str, *, choice: ImportChoice) -> NDArray[np.float32] | Unreadable:
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
    return np.rint(np.clip(share, 0.0, 1.0) * STEPS).astype(np.uint16)


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
