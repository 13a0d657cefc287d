"""PNG and NIfTI: read, resized as documented, and looked through for text."""

from __future__ import annotations

import gzip
import io

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from federation.data.arrays import Image, Mask
from site_client.images.deidentification import Findings
from site_client.images.picture import Picture, Unreadable
from site_client.images.plain_files import is_nifti, resized
from site_client.images.reading import check_header, fitted, picture_of

GENERATOR = np.random.default_rng(5)


def png(pixels: np.ndarray, **more: object) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, format="PNG", **more)
    return stream.getvalue()


def nifti(volume: np.ndarray) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(volume, np.eye(4))


def stops(made: bytes) -> dict[str, int]:
    found = Findings()
    assert check_header(made, found, missing="refuse") is None
    return found.stops


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_png(dtype: type) -> None:
    pixels = GENERATOR.integers(0, np.iinfo(dtype).max, (7, 9)).astype(dtype)
    found = picture_of(png(pixels))
    assert isinstance(found, Picture)
    np.testing.assert_array_equal(found.values, pixels[None].astype(np.float32))


def test_colour_png_comes_channels_first_and_transparency_is_refused() -> None:
    pixels = GENERATOR.integers(0, 255, (7, 9, 4)).astype(np.uint8)
    found = picture_of(png(pixels[:, :, :3]))
    assert isinstance(found, Picture)
    np.testing.assert_array_equal(found.values, np.moveaxis(pixels[:, :, :3], -1, 0))
    assert isinstance(picture_of(png(pixels)), Unreadable)


@pytest.mark.parametrize("packed", [False, True])
def test_the_middle_slice_of_a_nifti_volume_in_its_own_scale(packed: bool) -> None:
    volume = GENERATOR.normal(40, 10, (6, 5, 9)).astype(np.float32)
    made = nifti(volume).to_bytes()
    made = gzip.compress(made) if packed else made
    assert is_nifti(made)
    found = picture_of(made)
    assert isinstance(found, Picture)
    np.testing.assert_allclose(found.values[0], volume[:, :, 4].T, rtol=1e-6)
    assert "middle slice of the third axis" in found.done


def test_text_in_either_format_is_found() -> None:
    text = PngInfo()
    text.add_text("Patient", "Doe^Jane")
    pixels = np.zeros((4, 4), dtype=np.uint8)
    assert stops(png(pixels, pnginfo=text)) == {"PNG tEXt": 1}
    assert stops(png(pixels)) == {}
    named = nifti(np.zeros((4, 4, 4), dtype=np.float32))
    assert stops(named.to_bytes()) == {}
    named.header["descrip"] = b"Doe^Jane"
    named.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Doe^Jane"))
    assert stops(named.to_bytes()) == {"NIfTI descrip": 1, "NIfTI extensions": 1}


def test_truncated_files_are_unreadable() -> None:
    pixels = GENERATOR.integers(0, 255, (40, 40)).astype(np.uint8)
    whole = nifti(GENERATOR.normal(size=(6, 5, 9)).astype(np.float32)).to_bytes()
    for made in (png(pixels), whole, gzip.compress(whole)):
        for end in range(30, len(made) - 20, max(1, len(made) // 23)):
            assert isinstance(picture_of(made[:end]), Unreadable)


def test_resizing_keeps_the_mean_of_areas_and_the_proportions() -> None:
    plane = GENERATOR.normal(size=(8, 8)).astype(np.float32)
    halved = resized(plane, height=4, width=4, fill=0.0, of_mask=False)
    np.testing.assert_allclose(halved, plane.reshape(4, 2, 4, 2).mean(axis=(1, 3)), atol=1e-5)
    wide = resized(np.ones((4, 8), dtype=np.float32), height=8, width=8, fill=-7.0, of_mask=False)
    assert (wide[2:6] == 1).all()
    assert (wide[:2] == -7).all()
    assert (wide[6:] == -7).all()
    mask = (GENERATOR.random((9, 11)) > 0.5).astype(np.float32)
    assert set(np.unique(resized(mask, height=28, width=28, fill=0.0, of_mask=True))) <= {0.0, 1.0}


def test_what_does_not_fit_the_contract_has_a_reason() -> None:
    scan = Image(
        kind="image",
        name="scan",
        modality="x",
        channels=1,
        height=4,
        width=4,
        minimum=0,
        maximum=1,
        unit="dimensionless",
    )
    mask = Mask(kind="mask", name="lesion", height=4, width=4)
    colour = Picture(np.zeros((3, 4, 4), dtype=np.float32), ())
    assert "channels" in fitted(colour, scan).reason
    assert "finite" in fitted(Picture(np.full((1, 4, 4), np.nan, dtype=np.float32), ()), scan).reason
    grey = Picture(np.arange(16, dtype=np.float32).reshape(1, 4, 4), ())
    assert "two values" in fitted(grey, mask).reason
    values, done = fitted(Picture(255 * (grey.values > 3), ()), mask)
    np.testing.assert_array_equal(values, grey.values > 3)
    assert done == ()
