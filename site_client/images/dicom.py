"""DICOM files. Home of pydicom.

Stored numbers become values by the file's own rescale slope and intercept (CT numbers in HU); MONOCHROME1, in which more is darker,
is turned round, so that brighter is more everywhere; PALETTE COLOR and YBR are refused or made RGB by pydicom. The window is the
contract's range and no window of the file: a viewer's setting is not a measurement.

Axis names: C channels, H height, W width.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import zlib
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from federation.errors import MissingDependencyError
from site_client.images.deidentification import Claims, Element
from site_client.images.picture import LARGEST_FILE, LARGEST_PICTURE, Picture, Unreadable

if TYPE_CHECKING:
    from pydicom import Dataset, FileDataset
    from pydicom.uid import UID

_PREAMBLE: Final = 128
_DEEPEST: Final = 16
_TRUNCATED: Final = "truncated or damaged DICOM file"
_PHOTOMETRIC: Final = frozenset({"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422"})
_NEEDED: Final = (
    "Rows",
    "Columns",
    "PhotometricInterpretation",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "PixelData",
)
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"


def is_dicom(content: bytes) -> bool:
    """Whether bytes begin as a DICOM file."""
    return content[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def header_of(content: bytes) -> tuple[list[Element], Claims, bool] | Unreadable:
    """What the de-identification check needs of a file.

    Returns:
        Elements, claims, and whether the preamble holds something.
    """
    read = _read(content, pixels=False)
    if isinstance(read, Unreadable):
        return read
    try:
        with _quiet():
            meta = getattr(read, "file_meta", None)
            elements = [*_elements(read, 0), *(_elements(meta, 0) if meta is not None else ())]
            claims = _claims(read)
    except Exception:  # noqa: BLE001 - a parser's error on a stranger's file may hold what the file holds
        return Unreadable(_TRUNCATED)
    # Group 2 is technical; its private part (0002,0100) and (0002,0102) may say whose installation wrote it.
    return elements, claims, any(content[:_PREAMBLE])


def read_dicom(content: bytes) -> Picture | Unreadable:
    """Decode one single-frame picture."""
    read = _read(content, pixels=True)
    if isinstance(read, Unreadable):
        return read
    try:
        with _quiet():
            return _picture(read)
    except Exception:  # noqa: BLE001 - as above
        return Unreadable(_TRUNCATED)


def _read(content: bytes, *, pixels: bool) -> FileDataset | Unreadable:
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError as failure:
        raise MissingDependencyError(
            "expected the package 'pydicom', it is not installed", remedy="pip install 'cohortium[images]'"
        ) from failure
    if _swells(content):
        return Unreadable(f"more than {LARGEST_FILE >> 20} MiB when inflated")
    try:
        with _quiet():
            return dcmread(io.BytesIO(content), stop_before_pixels=not pixels)
    except InvalidDicomError:
        return Unreadable("not a DICOM file")
    except Exception:  # noqa: BLE001 - as above
        return Unreadable(_TRUNCATED)


def _swells(content: bytes) -> bool:
    """Whether a deflated file becomes larger than any file may be. Its meta header, of a stated length, is not deflated."""
    if _DEFLATED not in content[:4096]:
        return False
    start = 144 + int.from_bytes(content[140:144], "little")
    inflating = zlib.decompressobj(wbits=-15)
    try:
        return len(inflating.decompress(content[start:], LARGEST_FILE)) >= LARGEST_FILE
    except zlib.error:
        return False  # pydicom will say so


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Pydicom warns with values of the file; none of that is for a log."""
    logger = logging.getLogger("pydicom")
    was = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(was)


def _elements(dataset: Dataset, depth: int) -> Iterator[Element]:
    if depth > _DEEPEST:
        yield Element(0x0009, "", is_empty=False)  # nobody nests so deep: treated as private
        return
    for element in dataset:
        value = element.value
        is_empty = value is None or (hasattr(value, "__len__") and len(value) == 0)
        is_empty = is_empty or (isinstance(value, str) and not value.strip(" \0"))
        yield Element(int(element.tag.group), str(element.keyword), is_empty=is_empty, is_nested=depth > 0)
        if element.VR == "SQ" and not is_empty:
            for item in cast("Iterable[Dataset]", value):
                yield from _elements(item, depth + 1)


def _claims(dataset: Dataset) -> Claims:
    def said(keyword: str) -> str:
        return str(dataset.get(keyword, "") or "").strip().upper()

    return Claims(
        modality=said("Modality"),
        identity_removed=said("PatientIdentityRemoved") == "YES",
        dates_moved=said("LongitudinalTemporalInformationModified") in {"MODIFIED", "REMOVED"},
        burned_in=said("BurnedInAnnotation"),
        recognisable=said("RecognizableVisualFeatures") == "YES",
        one_pseudonym=said("PatientName") == said("PatientID"),
    )


def _picture(dataset: FileDataset) -> Picture | Unreadable:
    refused = _reason_against(dataset)
    if refused is not None:
        return Unreadable(refused)
    from pydicom.pixels.processing import apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    photometric = str(dataset.PhotometricInterpretation)
    stored = pixel_array(dataset)  # YBR becomes RGB
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    if stored.shape != ((rows, columns) if samples == 1 else (rows, columns, samples)):
        return Unreadable(_TRUNCATED)
    values: NDArray[np.float32] = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    scaled = "RescaleSlope" in dataset or "ModalityLUTSequence" in dataset
    done = ["the file's own scale to units applied"] if scaled else []
    if photometric == "MONOCHROME1":
        values = _turned(values, dataset)
        done.append("MONOCHROME1 turned round")
    channels = values[None] if samples == 1 else np.moveaxis(values, -1, 0)
    return Picture(values=np.ascontiguousarray(channels), done=tuple(done))


def _turned(values: NDArray[np.float32], dataset: FileDataset) -> NDArray[np.float32]:
    """MONOCHROME1 as MONOCHROME2: mirrored in the range that its bits can hold, after rescaling."""
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    return np.float32((least + most) * slope + 2 * intercept) - values


def _reason_against(dataset: FileDataset) -> str | None:
    """Why a file cannot be decoded, as far as its header says."""
    from pydicom.uid import UID

    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if any(keyword not in dataset for keyword in _NEEDED):
        return "no picture"
    size = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel)
    reasons = {
        "several frames": int(dataset.get("NumberOfFrames", 1) or 1) != 1,
        "a photometric interpretation other than MONOCHROME1, MONOCHROME2, RGB and YBR": (
            str(dataset.PhotometricInterpretation) not in _PHOTOMETRIC
        ),
        f"more than {LARGEST_PICTURE} values": not 0 < size <= LARGEST_PICTURE,
        f"transfer syntax {_shown(syntax)}, which nothing here decodes": not _can_decode(UID(syntax)),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _can_decode(syntax: UID) -> bool:
    if not syntax.is_transfer_syntax:
        return False
    if not syntax.is_compressed or syntax.name == "Deflated Explicit VR Little Endian":
        return True
    from pydicom.pixels.decoders.base import get_decoder

    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _shown(syntax: str) -> str:
    """A UID of the standard is public; anything else in its place could be anything."""
    return syntax if syntax.startswith("1.2.840.10008.") and len(syntax) <= 64 else "of a private UID"  # noqa: PLR2004
