"""Numbers of the ring: bounded errors, rounding without bias, no silent overflow, and nothing that is not finite."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import InvalidInputError
from federation.protocol.secure_sum.masking import BLOCK_BYTES, MaskStream
from federation.protocol.secure_sum.quantization import LARGEST_64, IntegerSource, StatisticsEncoding, UpdateEncoding

RANGES = st.floats(1e-30, 1e30)
UNITS = st.lists(st.floats(-1, 1, width=64), min_size=1, max_size=20)


def written(source, bits: int = 32, blocks: int = 7) -> np.ndarray:
    out = np.empty(len(source), dtype=f"<u{bits // 8}")
    for start in range(0, len(out), blocks):
        source.write(start, out[start : start + blocks])
    return out


def encode(encoding: UpdateEncoding, values: np.ndarray, weight: int = 1, seed: int = 0) -> np.ndarray:
    return written(
        encoding.source(values, weight=weight, generator=np.random.default_rng(seed)), blocks=BLOCK_BYTES // 4
    )


@given(value_range=RANGES, units=UNITS, weights=st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_the_decoded_weighted_sum_is_within_the_stated_error(value_range: float, units, weights) -> None:
    encoding = UpdateEncoding(value_range=value_range, total_weight=sum(weights), sites=len(weights))
    values = np.array(units) * value_range
    total = np.zeros(len(values), dtype=np.uint32)
    for seed, weight in enumerate(weights):
        total += encode(encoding, values, weight, seed)
    error = np.abs(encoding.decode(total) - values * sum(weights))
    assert error.max() <= encoding.error_bound(len(weights)) * (1 + 1e-9)


@given(value_range=RANGES, beyond=st.floats(1, 1e200), weight=st.integers(1, 50))
def test_what_is_beyond_the_range_is_clipped_to_it_even_at_the_largest_floats(value_range, beyond, weight) -> None:
    encoding = UpdateEncoding(value_range=value_range, total_weight=50, sites=1)
    values = np.array([1.0, -1.0]) * value_range * beyond
    decoded = encoding.decode(encode(encoding, np.append(values, [1.7e308, -1.7e308]), weight))
    expected = np.array([1.0, -1.0, 1.0, -1.0]) * value_range * weight
    assert np.abs(decoded - expected).max() <= encoding.step * (1 + 1e-9)


@pytest.mark.parametrize(("total", "sites"), [(2**24, 1), (2**24, 200), (2**24, 2**16), (2**16, 2**16), (3, 3), (1, 1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_sum_of_all_sites_at_their_largest_does_not_wrap(total: int, sites: int, sign: int) -> None:
    """Exact sum in Python's integers: one site with all the weight that is left, the others with one each."""
    encoding = UpdateEncoding(value_range=0.75, total_weight=total, sites=sites)
    values = np.full(64, sign * 1e30)
    heavy = encode(encoding, values, total - sites + 1).view(np.int32).astype(object)
    light = encode(encoding, values, 1, seed=1).view(np.int32).astype(object)
    most = max(abs(number) for number in heavy) + (sites - 1) * max(abs(number) for number in light)
    assert most <= 2**31 - 1
    assert most >= (2**31 - 1) * 0.99 - 3 * sites
    assert all(number * sign > 0 for number in (*heavy, *light))


@pytest.mark.statistical
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_has_no_bias_and_truncation_would_be_seen(fraction: float, sign: int) -> None:
    """Mean of 200,000 roundings within 5 standard deviations: errs with probability 6e-7 a case. The seed is fixed."""
    encoding = UpdateEncoding(value_range=1.0, total_weight=1, sites=1)
    count, exact = 200_000, sign * (1000 + fraction)
    rounded = encode(encoding, np.full(count, exact * encoding.step)).view(np.int32).astype(np.float64)
    assert set(np.unique(rounded)) <= {np.floor(exact), np.ceil(exact)}
    allowed = 5 * np.sqrt(fraction * (1 - fraction) / count)
    assert abs(rounded.mean() - exact) < allowed
    for wrong in (np.trunc, np.floor) if fraction == 0.5 else (np.trunc, np.floor, np.rint):
        assert abs(wrong(exact) - exact) > allowed, "the test rejects rounding that is not at random"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", [0, 6, 7, 29])
def test_what_is_not_finite_is_refused_wherever_it_is(bad: float, dtype, place: int) -> None:
    values = np.zeros(30, dtype=dtype)
    values[place] = bad
    encoding = UpdateEncoding(value_range=1.0, total_weight=3, sites=3)
    with pytest.raises(InvalidInputError, match="finite"):
        written(encoding.source(values, weight=1, generator=np.random.default_rng(1)))
    with pytest.raises(InvalidInputError, match="finite"):
        StatisticsEncoding(largest=1e6, sites=3).source(values.astype(np.float64))


@pytest.mark.parametrize("value_range", [0.0, -1.0, np.nan, np.inf, 5e-324, 1e-310, 1e-200, 1e200, 1.7e308])
def test_a_range_whose_steps_are_no_normal_floats_is_refused(value_range: float) -> None:
    with pytest.raises(InvalidInputError):
        UpdateEncoding(value_range=value_range, total_weight=2**24, sites=3)


@pytest.mark.parametrize(("total", "sites"), [(0, 0), (2, 3), (2**24 + 1, 3), (2**24, 2**16 + 1), (-1, -1)])
def test_weights_that_could_wrap_are_refused(total: int, sites: int) -> None:
    with pytest.raises(InvalidInputError):
        UpdateEncoding(value_range=1.0, total_weight=total, sites=sites)


@pytest.mark.parametrize("weight", [0, -1, 99])
def test_a_weight_beyond_what_the_others_leave_is_refused(weight: int) -> None:
    encoding = UpdateEncoding(value_range=1.0, total_weight=100, sites=3)
    with pytest.raises(InvalidInputError):
        encoding.source(np.zeros(3), weight=weight, generator=np.random.default_rng(1))


@given(
    bits=st.integers(0, 52),
    sites=st.integers(1, 1000),
    numbers=st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=10),
)
def test_fixed_point_statistics_are_exact(bits: int, sites: int, numbers) -> None:
    """Every multiple of the unit that a float holds, times all sites, comes back bit for bit."""
    values = np.array([float(number % 2**31 - 2**30) for number in numbers])
    shift = min(bits, 10)
    encoding = StatisticsEncoding(largest=2.0**30 / 2**shift, sites=sites, fraction_bits=shift)
    values /= 2**shift
    one = written(encoding.source(values), bits=64)
    total = one * np.uint64(sites)
    assert encoding.decode(total).tolist() == [float(value) * sites for value in values.tolist()]


@pytest.mark.parametrize("sites", [1, 2, 3, 200, 1000])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_whole_numbers_of_all_sites_fit_and_one_more_is_refused(sites: int, sign: int) -> None:
    for bits, room in ((32, 2**31 - 1), (64, LARGEST_64)):
        largest = room // sites
        source = IntegerSource(np.array([sign * largest]), largest=largest, sites=sites, bits=bits)
        word = int(written(source, bits)[0])
        total = word * sites % 2**bits
        assert (total if total < 2 ** (bits - 1) else total - 2**bits) == sign * largest * sites
        with pytest.raises(InvalidInputError):
            IntegerSource(np.array([0]), largest=largest + 1, sites=sites, bits=bits)
        if bits == 32:
            with pytest.raises(InvalidInputError):
                IntegerSource(np.array([sign * (largest + 1)]), largest=largest, sites=sites, bits=bits)


@pytest.mark.parametrize("largest", [2.0**63, 1e300, 1.7e308, np.inf, np.nan, 0.0, -1.0])
def test_statistics_that_could_wrap_are_refused(largest: float) -> None:
    for bits in (0, 20, 52):
        with pytest.raises(InvalidInputError):
            StatisticsEncoding(largest=largest, sites=3, fraction_bits=bits)


@pytest.mark.parametrize("bits", [-1, 53, 1000])
def test_binary_places_that_no_float_has_are_refused(bits: int) -> None:
    with pytest.raises(InvalidInputError):
        StatisticsEncoding(largest=1.0, sites=3, fraction_bits=bits)


def test_a_statistic_beyond_its_bound_is_refused_and_not_shown() -> None:
    with pytest.raises(InvalidInputError) as failure:
        StatisticsEncoding(largest=10.0, sites=3).source(np.array([123456.0]))
    assert "123456" not in str(failure.value)


@pytest.mark.parametrize("values", [np.zeros(3, dtype=np.int32), np.zeros((2, 2)), np.zeros(3)])
def test_whole_numbers_of_another_type_or_shape_are_refused(values: np.ndarray) -> None:
    with pytest.raises(InvalidInputError):
        IntegerSource(values, largest=1, sites=3, bits=32)


def test_a_key_stream_refuses_a_block_that_it_would_leave_half_unwritten() -> None:
    with pytest.raises(InvalidInputError):
        MaskStream(bytes(32)).write(memoryview(bytearray(BLOCK_BYTES + 1)))
