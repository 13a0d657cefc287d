"""Manhattan and quantile-quantile plots show every strong variant, and stay small however many weak ones there are."""

from __future__ import annotations

import re

import numpy as np

from aggregator.statistics.genotype_figures import genotype_figure_files
from federation.statistics.result import AnalysisResult, Table


def result(p: np.ndarray, chromosomes: list[str]) -> AnalysisResult:
    rows = tuple(
        (chromosome, f"rs{place}", (place + 1) * 500_000, None if np.isnan(value) else float(value))
        for place, (chromosome, value) in enumerate(zip(chromosomes, p, strict=True))
    )
    table = Table(
        name="association", title="Association", columns=("chromosome", "variant", "position", "p"), rows=rows
    )
    return AnalysisResult(
        analysis="gwas", patients=100, sites=("a",), tables=(table,), figures={"genomic inflation": 1.0512}
    )


def drawn(count: int, *, hits: int = 0) -> AnalysisResult:
    p = np.random.default_rng(0).uniform(size=count)
    p[:hits] = 10.0 ** -np.arange(10, 10 + hits)
    return result(p, [str(place * 22 // count + 1) for place in range(count)])


def points(svg: bytes) -> int:
    return len(re.findall(rb"<use ", svg))


def test_both_figures_as_svg_and_png() -> None:
    files = genotype_figure_files(drawn(500, hits=3))
    assert set(files) == {"manhattan.svg", "manhattan.png", "qq.svg", "qq.png"}
    assert b"inflation 1.051" in files["qq.svg"]
    assert all(files[name].startswith(b"\x89PNG") for name in files if name.endswith("png"))
    assert genotype_figure_files(drawn(500, hits=3)) == files


def test_a_figure_of_many_variants_is_not_much_larger() -> None:
    few, many = (genotype_figure_files(drawn(count, hits=5)) for count in (5_000, 60_000))
    for name in ("manhattan.svg", "qq.svg"):
        assert len(many[name]) < 4 * len(few[name])
    assert points(few["manhattan.svg"]) > 2_000


def test_variants_without_a_p_value_and_zeros_are_no_trouble() -> None:
    p = np.array([np.nan, 0.0, 0.5, 1.0, 0.2])
    files = genotype_figure_files(result(p, ["1", "2", "X", "MT", "scaffold"]))
    assert b"other" in files["manhattan.svg"]
    assert genotype_figure_files(result(np.array([np.nan]), ["1"])) == {}
    assert genotype_figure_files(AnalysisResult(analysis="glm", patients=9, sites=("a",))) == {}
