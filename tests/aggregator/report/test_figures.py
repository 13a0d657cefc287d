import re
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest

from aggregator.report.curve_figures import curve_figures
from aggregator.report.drawing import pictures
from aggregator.report.figures import INK, draw_png, draw_svg, only_part, style_of
from aggregator.report.round_figures import round_figures
from aggregator.report.site_figures import site_figures
from aggregator.report.vocabulary import SETTINGS
from tests.example_report import RUN, example_report


def example(axes):
    axes.plot([0, 1], [0, 1], marker="o", label="line")
    axes.set_xlim(0, 0.5)


@pytest.fixture(scope="module")
def report():
    return example_report()


def test_the_same_figure_has_the_same_bytes_and_no_date():
    first, second = (draw_svg("example", example) for _ in range(2))
    assert first == second
    assert "<dc:date>" not in first


def test_drawing_leaves_no_global_trace():
    before = dict(mpl.rcParams)
    draw_svg("example", example)
    draw_png(example)
    assert dict(mpl.rcParams) == before


def test_ids_are_the_figures_own_and_every_reference_has_its_target():
    svg = draw_svg("example", example)
    ids = re.findall(r'\sid="([^"]+)"', svg)
    assert all(name.startswith("example-") for name in ids)
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)
    assert references
    assert {first or second for first, second in references} <= set(ids)


def test_parts_are_all_figures_and_none_is_drawn_twice():
    parts = []
    for part in range(3):
        with only_part(part, 3):
            parts.append([draw_svg(f"figure-{number}", example) for number in range(5)])
    assert [[bool(svg) for svg in found] for found in parts] == [
        [True, False, False, True, False],
        [False, True, False, False, True],
        [False, False, True, False, False],
    ]
    assert draw_svg("figure-0", example) == parts[0][0]


def test_text_is_text():
    assert ">0.2<" in draw_svg("example", example)


def test_png_is_a_png():
    assert draw_png(example, dots_per_inch=40).startswith(b"\x89PNG")


def test_every_setting_looks_different_in_more_than_colour():
    styles = [style_of(name) for name in (*SETTINGS, "unknown")]
    for part in range(3):
        assert len({style[part] for style in styles}) == len(styles)


@pytest.fixture(scope="module")
def drawn(report):
    return [picture for section in pictures(report).values() for picture in section]


def test_inline_figures_are_named_scale_and_take_the_readers_colour(drawn):
    for picture in drawn:
        tree = ET.fromstring(picture.inline)
        assert tree.tag == "svg"
        assert tree.get("role") == "img"
        assert tree.get("viewBox")
        assert tree.get("width") is None
        assert tree.find("title").text == picture.title
        assert tree.find("desc").text
        assert INK not in picture.inline
        assert "currentColor" in picture.inline
        assert "http" not in picture.inline


def test_ids_are_unique_on_the_page(drawn):
    ids = [name for picture in drawn for name in re.findall(r'\sid="([^"]+)"', picture.inline)]
    assert len(ids) == len(set(ids))


def test_axes_are_labelled(drawn):
    for picture in drawn:
        words = re.findall(r"<text[^>]*>([^<]*[A-Za-z]{3}[^<]*)</text>", picture.svg)
        assert len(words) >= 2, picture.name


def test_binary_studies_have_four_curves(report):
    assert [picture.name for picture in curve_figures(report)] == [
        "roc",
        "precision-recall",
        "calibration",
        "net-benefit",
    ]


def test_one_class_everywhere_leaves_out_what_is_not_defined():
    found = example_report(sites={"one-class": 20})
    assert [picture.name for picture in curve_figures(found)] == ["calibration", "net-benefit"]


def test_other_tasks_have_their_own():
    assert [picture.name for picture in curve_figures(example_report("multiclass", private=False))] == [
        "confusion-local-only",
        "confusion-federated",
        "confusion-cyclic",
        "confusion-pooled",
    ]
    found = curve_figures(example_report("regression"))
    assert [picture.name for picture in found] == ["predicted-observed", "residuals"]
    assert ">Predicted pressure (mmHg)<" in found[0].svg


def test_rounds_show_privacy_only_if_there_is_some(report):
    assert [picture.name for picture in round_figures(report)] == [
        "rounds-auroc",
        "rounds-log-loss",
        "update-norm",
        "epsilon",
    ]
    assert "epsilon" not in [picture.name for picture in round_figures(example_report(private=False))]
    assert round_figures(report.model_copy(update={"convergence": ()})) == ()


def test_sites_without_a_figure_say_so(report):
    [picture] = site_figures(report)
    assert ">not defined<" in picture.svg
    assert ">one-class<" in picture.svg


def test_of_many_sites_the_worst_served_are_drawn():
    sites = {f"site-{number}": 12 for number in range(30)}
    found = example_report(sites=sites, run=RUN)
    [picture] = site_figures(found)
    drawn = set(re.findall(r">(site-\d+)<", picture.svg))
    assert len(drawn) == 25
    values = {entry.site: entry.metrics["auroc"].value for entry in found.setting("federated").sites}
    assert min(values, key=lambda site: values[site]) in drawn
    assert "25 worst-served" in picture.caption
