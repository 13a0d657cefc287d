"""DICOM files made for the tests: correct ones, and ones that are wrong in one way."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
}
UNKNOWN = UID("1.2.840.10008.1.2.4.106")  # HTJ2K: of the standard, and nothing here decodes it
NAME = "Doe^Jane"
BIRTHDAY = "19611114"


def dataset(
    stored: np.ndarray | None = None, *, syntax: UID = ExplicitVRLittleEndian, **elements: object
) -> FileDataset:
    """De-identified, 12 bits, one channel, 28 x 28 if nothing else is said."""
    stored = np.arange(28 * 28, dtype=np.uint16).reshape(28, 28) % 4096 if stored is None else stored
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["test"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    made = FileDataset("", {}, file_meta=meta, preamble=b"\x00" * 128)
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    made.Modality, made.BurnedInAnnotation, made.PatientIdentityRemoved = "CT", "NO", "YES"
    made.PatientID = made.PatientName = "pseudonym-7"
    made.Rows, made.Columns = stored.shape[:2]
    made.SamplesPerPixel = 1 if stored.ndim == 2 else stored.shape[2]
    made.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
    if stored.ndim == 3:
        made.PlanarConfiguration = 0
    bits = stored.dtype.itemsize * 8
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, min(bits, 12), min(bits, 12) - 1
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    made.PixelData = stored.tobytes()
    made["PixelData"].VR = "OW" if bits == 16 else "OB"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    if syntax == RLELossless:
        made.compress(RLELossless, generate_instance_uid=False)
    return made


def saved(made: FileDataset) -> bytes:
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def content(stored: np.ndarray | None = None, **elements: object) -> bytes:
    return saved(dataset(stored, **elements))


def of_unknown_syntax() -> bytes:
    """Says to be HTJ2K."""
    made = dataset()
    made.file_meta.TransferSyntaxUID = UNKNOWN
    made.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"\x00" * 60])
    made["PixelData"].VR = "OB"
    return saved(made)


def jpeg(pixels: np.ndarray) -> bytes:
    """8 bits, JPEG baseline."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=95)
    made = dataset(pixels)
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.PixelData = encapsulate([stream.getvalue()])
    made["PixelData"].VR = "OB"
    return saved(made)


def with_private_element() -> FileDataset:
    made = dataset()
    made.private_block(0x0099, "SOME VENDOR", create=True).add_new(0x01, "LO", NAME)
    return made


def with_nested_name() -> FileDataset:
    made, item = dataset(), Dataset()
    item.PatientName = NAME
    item.PatientID = "other"
    made.ReferencedImageSequence = [item]
    return made


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, each in files.items():
        (folder / name).write_bytes(each)
