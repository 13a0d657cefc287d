from __future__ import annotations

import functools
import re

import pytest

from aggregator.report.html import render_html
from aggregator.report.statement import with_audits
from aggregator.report.vocabulary import audit_size, audit_title
from tests.example_report import example_report
from tests.federation.privacy.example_audit import example_audit


@functools.cache
def _report():
    return example_report()


def _page(*audits) -> str:
    report = _report()
    here = [audit.model_copy(update={"manifest_digest": report.manifest_digest}) for audit in audits]
    statement = with_audits(report.privacy, here, manifest_digest=report.manifest_digest)
    return render_html(report.model_copy(update={"privacy": statement}))


def _text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_lower_bound_stands_beside_the_accountants_value() -> None:
    page = _page(example_audit(), example_audit("one_run", bound=0.72, claimed=2.0))
    rows = [_text(row) for row in page.split("<tr>") if "at least <b>" in row]
    assert len(rows) == 2
    assert "at least 1.92" in rows[0]
    assert "at most 2.17" in rows[0]
    assert "exactly 2.00 by formula" in rows[0]
    assert "at least 0.72" in rows[1]
    assert "at most 2.00" in rows[1]
    assert "743 of 1,000 guesses right" in rows[1]
    assert "formula" not in rows[1]
    assert "does not prove" in _text(page)
    assert "Do not release" not in page


def test_a_refuted_claim_is_the_first_thing_a_reader_sees() -> None:
    page = _page(example_audit(bound=3.0, claimed=2.0))
    assert "claim refuted" in page
    assert page.index("Do not release this model") < page.index("<nav")


def test_membership_is_shown_point_by_point() -> None:
    page = _text(_page(example_audit("membership", bound=0.0)))
    assert "1 of 120" in page
    assert "9 of 480" in page
    assert "0.7 to 3.8%" in page
    assert "37.0%" in page
    assert "64 models for comparison" in page


def test_without_an_audit_the_page_says_so() -> None:
    assert "No audit was run" in _text(_page())
    plain = _text(render_html(example_report(private=False)))
    assert "No audit was run" not in plain
    assert "Audit:" not in plain


def test_the_statement_has_its_headings() -> None:
    page = _text(_page())
    for heading in ("Trust model", "Composition", "Data collection exposure", "What is not covered", "Settings of the"):
        assert heading in page


def test_text_from_a_file_is_text_on_the_page() -> None:
    page = _page(example_audit(attacked="<script>alert(1)</script>", method="a < b"))
    assert "<script>" not in page
    assert "a &lt; b" in page


@pytest.mark.parametrize(
    ("kind", "title", "size"),
    [
        ("mechanism", "Noise of one release", "200,000 releases with and as many without"),
        ("one_run", "Planted patients", "5,000 planted; 743 of 1,000 guesses right"),
        ("membership", "Membership inference", "600 patients; 64 models for comparison"),
    ],
)
def test_audits_have_names_and_sizes(kind: str, title: str, size: str) -> None:
    assert audit_title(example_audit(kind)) == title
    assert audit_size(example_audit(kind)) == size
