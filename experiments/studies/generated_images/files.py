"""A hospital of drawn slices as DICOM files and a table. The second home of pydicom: the only place that writes DICOM."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from experiments.studies.generated_images.pictures import Scanner, Slice
from federation.durable_files import write_durably
from federation.errors import MissingDependencyError

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

TABLE: Final = "labels.csv"
_BITS: Final = 12


def write_hospital(slices: Iterable[Slice], scanner: Scanner, *, folder: Path, with_masks: bool) -> int:
    """Write ``0000.dcm`` and so on, masks beside them, and ``labels.csv``.

    Args:
        slices: Of one hospital.
        scanner: Says how they are stored.
        folder: Of the hospital.
        with_masks: Also write a file with each slice's mask.

    Returns:
        Number of patients.
    """
    patients: set[str] = set()
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["patient", "lesion_present", "slice_file", *(["lesion_file"] if with_masks else [])])
    for number, drawn in enumerate(slices):
        patients.add(drawn.patient)
        name = f"{number:05d}.dcm"
        write_durably(folder / name, dicom_bytes(drawn, scanner, name=f"{folder.name}/{name}"))
        row = [drawn.patient, str(int(drawn.has_lesion)), name]
        if with_masks:
            row.append(f"{number:05d}-mask.dcm")
            plain = Scanner(slope=1, intercept=0, side=scanner.side, noise=0, syntax="explicit", inverted=False)
            mask = Slice(drawn.patient, drawn.mask.astype(np.float64), drawn.mask)
            write_durably(folder / row[-1], dicom_bytes(mask, plain, name=f"{folder.name}/{row[-1]}"))
        table.writerow(row)
    write_durably(folder / TABLE, text.getvalue().encode())
    return len(patients)


def dicom_bytes(drawn: Slice, scanner: Scanner, *, name: str) -> bytes:
    """One slice as a DICOM file: de-identified, said to be generated, stored as the scanner does.

    Args:
        drawn: The slice; values outside what 12 bits can hold are cut.
        scanner: Slope, intercept, transfer syntax and polarity.
        name: Its UIDs follow from it, so that the same slice gives the same file.

    Raises:
        MissingDependencyError: If pydicom is not installed.
    """
    try:
        from pydicom.uid import RLELossless
    except ImportError as failure:
        raise MissingDependencyError(
            "expected the package 'pydicom', it is not installed", remedy="pip install 'cohortium[images]'"
        ) from failure
    most = 2**_BITS - 1
    stored = np.clip(np.rint((drawn.values - scanner.intercept) / scanner.slope), 0, most).astype(np.uint16)
    dataset = _header(drawn, scanner, name=name)
    dataset.PixelData = (most - stored if scanner.inverted else stored).tobytes()
    dataset["PixelData"].VR = "OW"
    if scanner.syntax == "rle":
        dataset.compress(RLELossless, generate_instance_uid=False)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _header(drawn: Slice, scanner: Scanner, *, name: str) -> FileDataset:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import (
        CTImageStorage,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        generate_uid,
    )

    syntax = {"implicit": ImplicitVRLittleEndian, "deflated": DeflatedExplicitVRLittleEndian}
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name])
    meta.TransferSyntaxUID = syntax.get(scanner.syntax, ExplicitVRLittleEndian)
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\x00" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.BurnedInAnnotation = "CT", "NO"
    dataset.PatientID = dataset.PatientName = drawn.patient
    dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = (
        "YES",
        "GENERATED IMAGE: THE PATIENT DOES NOT EXIST",
    )
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = scanner.side, scanner.side, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, _BITS, _BITS - 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME1" if scanner.inverted else "MONOCHROME2"
    dataset.RescaleSlope, dataset.RescaleIntercept = scanner.slope, scanner.intercept
    dataset.RescaleType = "HU"
    return dataset
