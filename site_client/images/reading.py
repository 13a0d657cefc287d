"""One file of whatever format: what its header says of somebody, and its picture as the contract wants it.

Axis names: C channels, H height, W width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from federation.data.arrays import Image, Mask
from federation.durable_files import read_whole
from site_client.images.deidentification import Findings, MissingBurnedIn, identifying, in_the_picture
from site_client.images.dicom import header_of, is_dicom, read_dicom
from site_client.images.picture import LARGEST_FILE, Picture, Unreadable
from site_client.images.plain_files import (
    is_nifti,
    is_png,
    read_nifti,
    read_png,
    resized,
    text_in_nifti,
    text_in_png,
)


def content_of(path: Path) -> bytes | Unreadable:
    """A file's bytes; symbolic links are not followed."""
    try:
        content = read_whole(path, largest=LARGEST_FILE)
    except FileNotFoundError:
        return Unreadable("no such file")
    except OSError:
        return Unreadable("a file that cannot be opened")
    return content if len(content) <= LARGEST_FILE else Unreadable(f"more than {LARGEST_FILE >> 20} MiB")


def check_header(content: bytes, findings: Findings, *, missing: MissingBurnedIn) -> Unreadable | None:
    """Add to the findings what a file still says of somebody.

    Args:
        content: Of the file.
        findings: Added to.
        missing: What to do where a file of a modality at risk does not say whether text is burnt in.

    Returns:
        Why its header cannot be read; ``None`` if it can.
    """
    if is_dicom(content):
        header = header_of(content)
        if isinstance(header, Unreadable):
            return header
        elements, claims, has_preamble = header
        stops, warnings = in_the_picture(claims, missing=missing)
        findings.add(identifying(elements, claims) | stops | ({"preamble"} if has_preamble else set()), warnings)
        return None
    if is_png(content):
        findings.add(text_in_png(content))
        return None
    if is_nifti(content):
        findings.add(text_in_nifti(content))
        return None
    return Unreadable("neither DICOM, NIfTI-1 nor PNG")


def picture_of(content: bytes) -> Picture | Unreadable:
    """Decode a file."""
    if is_dicom(content):
        return read_dicom(content)
    if is_png(content):
        return read_png(content)
    if is_nifti(content):
        return read_nifti(content)
    return Unreadable("neither DICOM, NIfTI-1 nor PNG")


def fitted(picture: Picture, variable: Image | Mask) -> tuple[NDArray[np.float32], tuple[str, ...]] | Unreadable:
    """A picture in the contract's shape, not yet cut to its range.

    Returns:
        ``[C, H, W]`` values, and what was done in words.
    """
    channels, height, width = variable.shape
    values = picture.values
    if values.shape[0] != channels:
        return Unreadable(f"{values.shape[0]} channels where the contract wants {channels}")
    if not np.isfinite(values).all():
        return Unreadable("values that are not finite")
    done = picture.done
    is_mask = isinstance(variable, Mask)
    if is_mask:
        levels = np.unique(values)
        if len(levels) > 2 or levels.min() < 0:  # noqa: PLR2004 - outside and inside
            return Unreadable("a mask with more than two values")
        values = (values > 0).astype(np.float32)
    fill = 0.0 if isinstance(variable, Mask) else variable.minimum
    if values.shape[1:] != (height, width):
        values = np.stack([resized(plane, height=height, width=width, fill=fill, of_mask=is_mask) for plane in values])
        done = (*done, f"resized to {height} x {width}, proportions kept")
    return values, done
