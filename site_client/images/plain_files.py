"""PNG and NIfTI files. Home of Pillow and nibabel.

Neither format has a de-identification profile. What can hold free text is looked for: text and EXIF in a PNG; extensions and the
free-text fields of a NIfTI header. A three-dimensional NIfTI file is a volume: a contract of one slice takes its middle one.

Axis names: C channels, H height, W width.
"""

from __future__ import annotations

import io
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.errors import MissingDependencyError
from site_client.images.picture import LARGEST_FILE, LARGEST_PICTURE, Picture, Unreadable

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_GZIP: Final = b"\x1f\x8b"
_NIFTI_HEADER: Final = 352
_TEXT_CHUNKS: Final = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")


def is_png(content: bytes) -> bool:
    """Whether bytes begin as a PNG file."""
    return content.startswith(_PNG)


def is_nifti(content: bytes) -> bool:
    """Whether bytes are a single-file NIfTI-1 image, compressed or not."""
    start = _unpacked(content, most=_NIFTI_HEADER)
    return start is not None and len(start) >= _NIFTI_HEADER and start[344:348] == b"n+1\x00"


def text_in_png(content: bytes) -> set[str]:
    """Names of chunks that may hold text about somebody."""
    found, place = set[str](), len(_PNG)
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if kind in _TEXT_CHUNKS:
            found.add(f"PNG {kind.decode()}")
        place += 12 + length
    return found


def text_in_nifti(content: bytes) -> set[str]:
    """Names of header fields that may hold text about somebody."""
    start = _unpacked(content, most=_NIFTI_HEADER) or b""
    fields = {"db_name": (14, 32), "descrip": (148, 228), "aux_file": (228, 252), "intent_name": (328, 344)}
    found = {f"NIfTI {name}" for name, (first, last) in fields.items() if start[first:last].strip(b"\x00 ")}
    return found | ({"NIfTI extensions"} if start[348:349] not in {b"", b"\x00"} else set())


def read_png(content: bytes) -> Picture | Unreadable:
    """Decode a grey or colour PNG; transparency and palettes are refused."""
    try:
        from PIL import Image
    except ImportError as failure:
        raise _absent("pillow") from failure
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width * image.height * len(image.getbands()) > LARGEST_PICTURE:
                return Unreadable(f"more than {LARGEST_PICTURE} values")
            if image.mode not in {"L", "I;16", "I", "RGB"}:
                return Unreadable("a PNG with a palette or transparency")
            values = np.asarray(image, dtype=np.float32)
    except Exception:  # noqa: BLE001 - a parser's error on a stranger's file may hold what the file holds
        return Unreadable("truncated or damaged PNG file")
    return Picture(np.ascontiguousarray(values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)), ())  # noqa: PLR2004


def read_nifti(content: bytes) -> Picture | Unreadable:
    """The middle axial slice of a NIfTI-1 volume, in the header's own scale, rows from front to back."""
    try:
        import nibabel
    except ImportError as failure:
        raise _absent("nibabel") from failure
    whole = _unpacked(content, most=LARGEST_FILE)
    if whole is None:
        return Unreadable("truncated or damaged NIfTI file")
    try:
        image = nibabel.Nifti1Image.from_bytes(whole)
        shape = tuple(int(side) for side in image.shape)
        if len(shape) not in {2, 3} or int(np.prod(shape)) > LARGEST_PICTURE:
            return Unreadable("a NIfTI file of other than two or three dimensions, or too large")
        data: NDArray[np.float32] = np.asarray(image.dataobj, dtype=np.float32)
    except Exception:  # noqa: BLE001 - as above
        return Unreadable("truncated or damaged NIfTI file")
    done = ("header's scale applied",)
    if data.ndim == 3:  # noqa: PLR2004 - a volume
        data, done = data[:, :, data.shape[2] // 2], (*done, "middle slice of the third axis")
    return Picture(np.ascontiguousarray(data.T[None]), done)


def resized(plane: NDArray[np.float32], *, height: int, width: int, fill: float, of_mask: bool) -> NDArray[np.float32]:
    """One channel at another size, its proportions kept.

    The picture is scaled until it fits, by the mean over areas where it shrinks and bilinearly where it grows (a mask: nearest
    pixel), put into the middle, and the rest is filled.

    Args:
        plane: ``[h, w]``.
        height: Wanted.
        width: Wanted.
        fill: Value of the margins.
        of_mask: Whether only 0 and 1 may come out.
    """
    if plane.shape == (height, width):
        return plane
    try:
        from PIL import Image
    except ImportError as failure:
        raise _absent("pillow") from failure
    factor = min(height / plane.shape[0], width / plane.shape[1])
    inner = (min(height, max(1, round(plane.shape[0] * factor))), min(width, max(1, round(plane.shape[1] * factor))))
    way = Image.Resampling.BOX if factor < 1 else Image.Resampling.BILINEAR
    scaled = Image.fromarray(plane).resize((inner[1], inner[0]), Image.Resampling.NEAREST if of_mask else way)
    found = np.full((height, width), fill, dtype=np.float32)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    found[top : top + inner[0], left : left + inner[1]] = np.asarray(scaled, dtype=np.float32)
    return found


def _unpacked(content: bytes, *, most: int) -> bytes | None:
    """At most so many bytes of a file that may be compressed; ``None`` if it is damaged."""
    if not content.startswith(_GZIP):
        return content
    try:
        return zlib.decompressobj(wbits=31).decompress(content, most)
    except zlib.error:
        return None


def _absent(package: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"expected the package {package!r}, it is not installed", remedy="pip install 'cohortium[images]'"
    )
