"""Compressed updates: what is rounded, what is kept, how long the bytes are, and what is refused."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import InvalidInputError, ManifestError
from federation.study.compression import CompressionSpec, compress, decompress
from tests.small_study import manifest

PRECISIONS = ("float32", "float16", "bfloat16")
NUMBERS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40)


def spec(precision="float32", kept=None) -> CompressionSpec:
    return CompressionSpec(precision=precision, kept_fraction=kept)


def through(update, one, residual=None) -> np.ndarray:
    content = compress(update, one, residual=residual).content
    assert content.shape == (one.num_bytes(len(update)),)
    return decompress(content, one, size=len(update))


@given(numbers=NUMBERS)
def test_bfloat16_is_what_torch_rounds_to(numbers):
    update = np.array(numbers, dtype=np.float32)
    rounded = torch.from_numpy(update).to(torch.bfloat16).to(torch.float32).numpy()
    is_largest = np.isinf(rounded)  # beyond the largest: kept finite
    found = through(update, spec("bfloat16"))
    assert np.array_equal(found[~is_largest], rounded[~is_largest])
    assert np.isfinite(found).all()


@given(numbers=NUMBERS)
def test_float16_keeps_eleven_bits_of_what_is_near_the_largest_number(numbers):
    update = np.array(numbers, dtype=np.float32)
    largest = float(np.abs(update).max())
    error = np.abs(through(update, spec("float16")).astype(np.float64) - update)
    assert (error <= np.maximum(np.abs(update.astype(np.float64)) * 2.0**-11, largest * 2.0**-38) + 2.0**-149).all()


@given(numbers=NUMBERS, kept=st.floats(0.01, 0.99), precision=st.sampled_from(PRECISIONS))
def test_what_is_sent_and_what_is_held_back_are_the_whole_update(numbers, kept, precision):
    update = np.array(numbers, dtype=np.float32) / np.float32(4)
    held = np.roll(update, 1) / np.float32(2)
    one = spec(precision, kept)
    found = compress(update, one, residual=held)
    sent = decompress(found.content, one, size=len(update))
    whole = update.astype(np.float64) + held
    tolerance = 2.0**-23 * np.abs(whole) + 2.0**-149
    assert (np.abs(sent.astype(np.float64) + found.residual - whole) <= 2 * tolerance).all()
    assert np.count_nonzero(sent) <= one.kept(len(update))


@pytest.mark.parametrize("kept", [0.005, 0.01, 0.1, 0.5])
def test_the_largest_are_sent_and_of_equal_ones_the_first(kept):
    update = np.zeros(1000, dtype=np.float32)
    update[[3, 700, 999]] = [-5, 4, 3]
    sent = through(update, spec(kept=kept))
    assert np.flatnonzero(sent).tolist() == [3, 700, 999]
    ones = through(np.ones(1000, dtype=np.float32), spec(kept=kept))
    assert np.flatnonzero(ones).tolist() == list(range(int(np.ceil(1000 * kept))))


def test_held_back_coordinates_are_sent_later():
    """A constant update: after as many rounds as there are parts, every coordinate was sent."""
    one, update = spec(kept=0.25), np.array([4, 3, 2, 1], dtype=np.float32)
    residual, total = None, np.zeros(4)
    for _ in range(40):
        found = compress(update, one, residual=residual)
        total += decompress(found.content, one, size=4)
        residual = found.residual
    assert np.abs(total / 40 - update).max() < 0.5
    without = sum(through(update, one) for _ in range(40)) / 40
    assert np.abs(without - update).max() == 3  # three of four coordinates are never sent


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (spec("float16"), 4 + 2 * 10_000),
        (spec("bfloat16"), 4 + 2 * 10_000),
        (spec(kept=0.01), 4 + 100 * (4 + 4)),
        (spec("float16", 0.01), 4 + 100 * (4 + 2)),
        (spec("bfloat16", 0.1), 4 + 10_000 // 8 + 2 * 1000),
    ],
)
def test_the_length_follows_from_the_specification(one, expected):
    assert one.num_bytes(10_000) == expected


def test_the_same_update_gives_the_same_bytes():
    update = np.random.default_rng(0).standard_normal(5000, dtype=np.float32)
    digests = [hashlib.sha256(compress(update, spec(p, 0.05), residual=None).content).hexdigest() for p in PRECISIONS]
    assert digests == [
        hashlib.sha256(compress(update.copy(), spec(p, 0.05), residual=None).content).hexdigest() for p in PRECISIONS
    ]
    assert len(set(digests)) == len(PRECISIONS)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_not_finite_does_not_leave(broken, precision):
    update = np.zeros(10, dtype=np.float32)
    update[4] = broken
    with pytest.raises(InvalidInputError, match="finite"):
        compress(update, spec(precision, 0.5), residual=None)


def damaged(size, one, change) -> np.ndarray:
    content = compress(np.arange(1, size + 1, dtype=np.float32), one, residual=None).content.copy()
    change(content)
    return content


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.__setitem__(slice(4, 8), content[8:12].copy()),  # a place twice
        lambda content: content.__setitem__(slice(8, 12), 255),  # a place beyond the end
        lambda content: content.__setitem__(slice(0, 4), 1),  # an exponent where nothing is scaled
    ],
)
def test_damaged_places_are_refused(change):
    one = spec(kept=0.01)
    with pytest.raises(InvalidInputError):
        decompress(damaged(1000, one, change), one, size=1000)


@pytest.mark.parametrize("size", [999, 1001, 2000])
def test_another_length_is_refused(size):
    one = spec("float16")
    with pytest.raises(InvalidInputError, match="bytes of a compressed update"):
        decompress(damaged(1000, one, lambda content: None), one, size=size)


@given(content=st.binary(min_size=4 + 125 + 4 * 300, max_size=4 + 125 + 4 * 300))
def test_any_bytes_give_an_update_or_a_refusal(content):
    one = spec(kept=0.3)
    try:
        found = decompress(np.frombuffer(content, dtype=np.uint8), one, size=1000)
    except InvalidInputError:
        return
    assert found.shape == (1000,)


def test_a_manifest_without_compression_has_the_digest_it_had_before_there_was_any():
    known = "sha256:8bac930f18b00a314f2305282b291c1a30ced60e897527ac8ee9ddb88fef9470"
    assert manifest().digest == known
    assert "compression" not in manifest().as_data()
    assert "compression" not in manifest().model_dump_json()
    with_it = manifest(compression={"precision": "float16"})
    assert with_it.digest != known
    assert type(with_it).from_data(with_it.as_data()) == with_it


ROBUST = {"byzantine": 1, "norm_bound": 10.0, "beyond_bound": "exclude"}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"compression": {}}, "neither"),
        ({"compression": {"precision": "float8"}}, "precision"),
        ({"compression": {"kept_fraction": 0.0}}, "kept_fraction"),
        ({"compression": {"kept_fraction": 1.0}}, "kept_fraction"),
        ({"compression": {"precision": "float16"}, "algorithm": {"kind": "scaffold"}}, "scaffold"),
        (
            {
                "compression": {"kept_fraction": 0.1},
                "aggregation": {"mode": "open_robust", "quorum": 2, "robust": ROBUST | {"rule": {"kind": "median"}}},
            },
            "count as zero",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, match):
    with pytest.raises(ManifestError, match=match):
        manifest(**changes)


def test_a_rule_by_coordinate_takes_rounded_updates():
    rule = {"mode": "open_robust", "quorum": 2, "robust": ROBUST | {"rule": {"kind": "median"}}}
    assert manifest(compression={"precision": "bfloat16"}, aggregation=rule).compression is not None
