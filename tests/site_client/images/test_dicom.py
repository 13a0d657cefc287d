"""DICOM files give the values that they mean, whichever way they are stored; what cannot be read is a reason and never an exception."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from site_client.images import dicom as dicom_module
from site_client.images.dicom import header_of, is_dicom, read_dicom
from site_client.images.picture import Picture, Unreadable
from site_client.images.reading import picture_of
from tests.site_client.images.dicom_files import SYNTAXES, UNKNOWN, content, dataset, jpeg, of_unknown_syntax, saved

GENERATOR = np.random.default_rng(3)
STORED = GENERATOR.integers(0, 4096, (20, 24)).astype(np.uint16)


def picture(made: bytes) -> Picture:
    found = read_dicom(made)
    assert isinstance(found, Picture), found
    return found


def reason(made: bytes) -> str:
    found = picture_of(made)
    assert isinstance(found, Unreadable)
    return found.reason


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.25, -200), (None, None)])
def test_stored_numbers_become_values_in_every_transfer_syntax(
    syntax: str, slope: float | None, intercept: float | None
) -> None:
    scale = {} if slope is None else {"RescaleSlope": slope, "RescaleIntercept": intercept}
    found = picture(content(STORED, syntax=SYNTAXES[syntax], **scale))
    np.testing.assert_allclose(found.values, (STORED.astype(float) * (slope or 1) + (intercept or 0))[None], rtol=1e-6)
    assert bool(found.done) == (slope is not None)


def test_monochrome1_is_turned_round_so_that_brighter_is_more() -> None:
    inverted = content(4095 - STORED, PhotometricInterpretation="MONOCHROME1", RescaleSlope=0.5, RescaleIntercept=-100)
    np.testing.assert_allclose(picture(inverted).values[0], STORED * 0.5 - 100, rtol=1e-6)
    assert "MONOCHROME1 turned round" in picture(inverted).done


def test_signed_numbers_keep_their_sign() -> None:
    signed = GENERATOR.integers(-2048, 2048, (8, 8)).astype(np.int16)
    np.testing.assert_array_equal(picture(content(signed)).values[0], signed)


def test_colour_comes_channels_first() -> None:
    colour = GENERATOR.integers(0, 256, (6, 5, 3)).astype(np.uint8)
    found = picture(content(colour, BitsStored=8, HighBit=7))
    np.testing.assert_array_equal(found.values, np.moveaxis(colour, -1, 0))


def test_jpeg_is_read_as_far_as_its_own_loss_allows() -> None:
    rows, columns = np.mgrid[0:32, 0:32]
    smooth = (4 * rows + 3 * columns).astype(np.uint8)
    assert np.abs(picture(jpeg(smooth)).values[0] - smooth).max() < 8


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "image_dfl.dcm"])
def test_files_of_real_machines_are_read_as_pydicom_reads_them(name: str) -> None:
    from pydicom import dcmread

    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom's own {name} is not installed")
    original = dcmread(path)
    scale = float(original.get("RescaleSlope", 1)), float(original.get("RescaleIntercept", 0))
    found = picture(Path(path).read_bytes())
    np.testing.assert_allclose(found.values[0], original.pixel_array * scale[0] + scale[1], rtol=1e-6)


def test_an_unknown_transfer_syntax_is_named() -> None:
    assert reason(of_unknown_syntax()) == f"transfer syntax {UNKNOWN}, which nothing here decodes"
    secret = dataset()
    secret.file_meta.TransferSyntaxUID = "1.3.6.1.4.1.5962.1999"
    made = saved(secret) if not secret.file_meta.TransferSyntaxUID.is_private else None
    assert made is None or "1.3.6" not in reason(made)


def test_several_frames_no_picture_and_impossible_sizes_have_reasons() -> None:
    frames = dataset(np.zeros((28, 28), dtype=np.uint16), NumberOfFrames=2)
    frames.PixelData = frames.PixelData * 2
    assert reason(saved(frames)) == "several frames"
    assert "photometric" in reason(content(PhotometricInterpretation="PALETTE COLOR"))
    empty = dataset()
    del empty.PixelData
    assert reason(saved(empty)) == "no picture"
    assert "values" in reason(content(Rows=65_000, Columns=65_000))
    assert "values" in reason(content(Rows=0))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_truncated_file_is_unreadable_wherever_it_ends(syntax: str) -> None:
    whole = content(STORED, syntax=SYNTAXES[syntax])
    read = 0
    for end in range(0, len(whole) - 1, 37):
        found = picture_of(whole[:end])
        if isinstance(found, Picture):  # what is lost was no pixel
            np.testing.assert_array_equal(found.values[0], STORED)
            read += 1
    assert read <= 2


def test_bytes_that_are_no_image_are_unreadable() -> None:
    assert reason(b"") == reason(b"x" * 500) == "neither DICOM, NIfTI-1 nor PNG"
    for seed in range(40):
        junk = np.random.default_rng(seed).integers(0, 256, 700, dtype=np.uint8).tobytes()
        made = b"\x00" * 128 + b"DICM" + junk
        assert is_dicom(made)
        assert isinstance(read_dicom(made), Unreadable)
        header_of(made)


def test_bytes_that_were_changed_never_raise() -> None:
    whole = content(STORED, syntax=RLELossless)
    for seed in range(150):
        generator = np.random.default_rng(seed)
        broken = bytearray(whole)
        for place in generator.integers(132, len(whole), 6):
            broken[place] = generator.integers(0, 256)
        assert isinstance(read_dicom(bytes(broken)), Picture | Unreadable)
        header_of(bytes(broken))


def test_a_deflated_file_that_swells_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_module, "LARGEST_FILE", 1 << 16)
    start = content(STORED, syntax=SYNTAXES["deflated"])
    length = 144 + int.from_bytes(start[140:144], "little")
    squeeze = zlib.compressobj(wbits=-15)
    bomb = start[:length] + squeeze.compress(b"\x00" * (1 << 20)) + squeeze.flush()
    assert "when inflated" in reason(bomb)
