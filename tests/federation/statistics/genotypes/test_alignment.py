"""Alleles are brought to the list's whatever a site calls them, or the variant is left out: nothing is guessed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import InvalidInputError
from federation.statistics.genotypes.alignment import ABSENT, FATES, align, fate_of
from federation.statistics.genotypes.variants import COMPLEMENT, VariantList, palindromic, parse_bim

BASES = "ACGT"
PAIRS = [(a, b) for a in BASES for b in BASES if a != b]
PLAIN = [pair for pair in PAIRS if COMPLEMENT[pair[0]] != pair[1]]


def variants(rows: list[tuple[str, str, int, str, str]]) -> VariantList:
    return parse_bim("".join(f"{c}\t{n}\t0\t{p}\t{a}\t{b}\n" for c, n, p, a, b in rows).encode(), name="list")


def turned(pair: tuple[str, str]) -> tuple[str, str]:
    return (COMPLEMENT[pair[0]], COMPLEMENT[pair[1]])


CASES = st.tuples(st.sampled_from(PLAIN), st.booleans(), st.booleans())


@given(st.lists(CASES, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_swaps_and_flips_of_plain_variants_are_always_mended(cases: list, shuffle) -> None:
    """Guarantee: whatever mixture of swaps, flips and order of rows, copies of the list's first allele come out."""
    listed = variants([("1", f"rs{place}", place + 1, *pair) for place, (pair, _, _) in enumerate(cases)])
    rows = []
    for place, (pair, is_swapped, is_flipped) in enumerate(cases):
        own = pair[::-1] if is_swapped else pair
        rows.append(("chr1", f"rs{place}", place + 1, *(turned(own) if is_flipped else own)))
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    found = align(listed, variants([rows[place] for place in order]))
    assert [order[column] for column in found.columns] == list(range(len(cases)))
    assert found.is_swapped.tolist() == [is_swapped for _, is_swapped, _ in cases]
    assert found.fates[:4].sum() == len(cases) == found.fates.sum()


@given(st.sampled_from(PLAIN), st.sampled_from(PAIRS))
def test_a_variant_is_kept_only_if_its_alleles_are_the_list_s_on_one_strand(pair: tuple, own: tuple) -> None:
    fits = set(own) in (set(pair), set(turned(pair)))
    assert (FATES[fate_of(pair, own, palindromic="exclude")] in FATES[:4]) == fits


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair not in PLAIN])
def test_palindromic_variants_are_left_out_unless_all_sites_name_one_strand(pair: tuple[str, str]) -> None:
    assert FATES[fate_of(pair, pair, palindromic="exclude")] == "palindromic"
    assert FATES[fate_of(pair, pair, palindromic="keep")] == "same"
    assert FATES[fate_of(pair, pair[::-1], palindromic="keep")] == "swapped"
    assert palindromic(variants([("1", "rs1", 1, *pair), ("1", "rs2", 2, "A", "C")])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("own", "fate"),
    [
        (("0", "A"), "swapped"),
        (("A", "0"), "same"),
        (("0", "C"), "same"),
        (("0", "G"), "flipped"),
        (("0", "T"), "flipped and swapped"),
        (("0", "0"), "other alleles"),
        (("I", "D"), "other alleles"),
        (("A", "G"), "other alleles"),
    ],
)
def test_an_allele_that_nobody_at_a_site_has(own: tuple[str, str], fate: str) -> None:
    assert FATES[fate_of(("A", "C"), own, palindromic="exclude")] == fate


def test_insertions_are_compared_as_they_are_written() -> None:
    assert FATES[fate_of(("AT", "A"), ("A", "AT"), palindromic="exclude")] == "swapped"
    assert FATES[fate_of(("AT", "A"), ("TA", "T"), palindromic="exclude")] == "other alleles"


def test_every_fate_is_counted_and_what_cannot_be_used_has_no_column() -> None:
    listed = variants(
        [("1", "a", 1, "A", "C"), ("1", "b", 2, "A", "C"), ("2", "c", 3, "A", "C"), ("3", "d", 4, "A", "C")]
    )
    own = variants(
        [("1", "a", 7, "A", "C"), ("1", "other", 2, "C", "A"), ("2", "c", 3, "A", "G"), ("9", "e", 1, "A", "C")]
    )
    found = align(listed, own)
    assert found.columns.tolist() == [ABSENT, 1, ABSENT, ABSENT]
    counted = dict(zip(FATES, found.fates.tolist(), strict=True))
    assert {name: count for name, count in counted.items() if count} == {
        "other position": 1,
        "swapped": 1,
        "other alleles": 1,
        "absent": 1,
        "not in the list": 1,
    }


def test_two_variants_at_one_place_are_told_apart_by_name_only() -> None:
    listed = variants([("1", "mine", 5, "A", "C")])
    own = variants([("1", "x", 5, "A", "C"), ("1", "y", 5, "A", "G")])
    assert align(listed, own).columns.tolist() == [ABSENT]
    named = variants([("1", "x", 5, "A", "G"), ("1", "mine", 5, "C", "A")])
    assert align(listed, named).columns.tolist() == [1]


def test_lists_that_differ_in_anything_have_other_digests() -> None:
    rows = [("1", "a", 1, "A", "C"), ("1", "b", 2, "A", "C")]
    digests = {variants(rows).digest, variants(rows[::-1]).digest}
    for place, value in ((0, "2"), (1, "z"), (2, 9), (3, "G"), (4, "T")):
        changed = list(rows[0])
        changed[place] = value
        digests.add(variants([tuple(changed), rows[1]]).digest)
    assert len(digests) == 7
    assert variants(rows).digest == parse_bim(variants(rows).to_bim(), name="again").digest


def test_a_list_without_variants() -> None:
    with pytest.raises(InvalidInputError, match="expected variants"):
        parse_bim(b"\n" * 0, name="list")
    assert np.array_equal(variants([("1", "a", 1, "A", "C")]).positions, [1])


@pytest.mark.parametrize(("one", "other"), [("chr1", "1"), ("23", "X"), ("chrX", "X"), ("26", "chrM"), ("MT", "M")])
def test_chromosomes_have_one_name(one: str, other: str) -> None:
    listed, own = (variants([(name, "rs1", 5, "A", "C")]) for name in (one, other))
    assert align(listed, own).columns.tolist() == [0]
    assert listed.digest == own.digest
