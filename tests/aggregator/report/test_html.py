import html.parser
import re
from dataclasses import replace

import pytest

from aggregator.report.content import FlowStep, StudyReport
from aggregator.report.html import make_page, render_html
from aggregator.report.page import write_report
from aggregator.report.wire import size_of
from tests.example_report import RUN, SITES, example_report

VOID = {"meta", "br", "hr", "img", "link", "input", "path", "use", "rect"}


class Page(html.parser.HTMLParser):
    """What a browser would see: tags, their attributes and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def report():
    return example_report()


@pytest.fixture(scope="module")
def text(report):
    return render_html(report)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_asks_nothing_of_the_network_and_runs_nothing(text, page):
    assert re.search(r"https?://", text) is None
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"script", "link", "iframe", "object", "embed", "base", "form", "img"}
    )
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action"):
            assert attributes.get(name, "#").startswith("#"), tag
    assert "@import" not in text
    assert re.search(r"url\((?!#)", text) is None


def test_the_page_is_well_formed_and_its_links_lead_somewhere(page):
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "a":
            assert attributes["href"].removeprefix("#") in ids


def test_nothing_from_the_study_becomes_markup(report):
    fields = ("title", "question", "data_licence", "created", "outcome", "manifest_digest")
    attacks = {field: f"<script>{field}</script>" for field in fields}
    text = render_html(report.model_copy(update=attacks))
    assert "<script" not in text
    for field in fields:
        assert f"&lt;script&gt;{field}&lt;/script&gt;" in text.lower()


def test_names_of_sites_and_settings_are_escaped_in_tables_and_figures(report):
    data = report.model_dump_json().replace('"cleveland"', '"<b>&amp"').replace('"chol"', '"<i>"')
    text = render_html(StudyReport.from_json(data))
    assert "<b>&amp<" not in text
    assert "<b>&amp\n" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;&amp;amp" in text


def test_every_section_of_the_issue_is_there(page):
    for words in (
        "Participants and flow",
        "Data readiness",
        "Cohort, model and training",
        "Convergence",
        "Performance over all sites",
        "Performance at each site",
        "ROC curve",
        "Precision-recall curve",
        "Calibration",
        "Decision curve",
        "Worst-served site",
        "Privacy statement",
        "What is not covered",
        "Reproducing it",
    ):
        assert words in page.words


def test_figures_of_the_data_are_on_the_page(report, page):
    found = report.setting("federated").overall["auroc"]
    assert f"{found.value:.2f} {found.lower:.2f} to {found.upper:.2f}" in page.words
    for site in SITES:
        assert site in page.words
    assert "not defined (one outcome class)" in page.words
    assert "nan" not in page.words.lower().split()
    assert "None" not in page.words
    assert RUN.command in page.words
    assert report.manifest_digest in page.words


def _rounds_table(report):
    """Heads and rows of the table of rounds, as a reader sees them."""
    section = re.search(r'aria-label="Rounds">(.*?)</table>', render_html(report), re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", section[1], re.DOTALL)
    return [[Page(cell).words for cell in re.findall(r"<t[hd][^>]*>.*?</t[hd]>", row, re.DOTALL)] for row in rows]


def test_the_rounds_show_the_bytes_that_travelled_each_way(report):
    counts = {
        point.round_number: (1_230 * point.round_number, 45_600_000 + 1_000_000 * point.round_number)
        for point in report.convergence
    }
    points = tuple(
        point.model_copy(update=dict(zip(("bytes_sent", "bytes_received"), counts[point.round_number], strict=True)))
        for point in report.convergence
    )
    head, *rows = _rounds_table(report.model_copy(update={"convergence": points}))
    assert head[-2:] == ["Sent to sites", "Received from sites"]
    assert rows
    for row in rows:
        assert row[-2:] == [size_of(number) for number in counts[int(row[0])]]
    assert rows[0][-2:] == ["1.23 kB", "46.6 MB"]


def test_rounds_whose_bytes_were_not_counted_have_no_such_columns(report):
    points = tuple(point.model_copy(update={"bytes_sent": 0, "bytes_received": 0}) for point in report.convergence)
    head, *rows = _rounds_table(report.model_copy(update={"convergence": points}))
    assert rows
    assert "Sent to sites" not in head
    assert {len(row) for row in rows} == {len(head)}


def test_figures_have_a_table_beside_them(page):
    for words in ("The rounds as a table", "The curves as tables", "Sensitivity by share of false alarms"):
        assert words in page.words


def test_tables_scroll_inside_their_own_box_and_can_be_reached_by_keyboard(page):
    boxes = [attributes for tag, attributes in page.tags if tag == "div" and attributes.get("class") == "scroll"]
    assert len(boxes) == sum(tag == "table" for tag, _ in page.tags)
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def test_warnings_come_first(report, page):
    start = page.words.index("Result", page.words.index("Reproducing it"))
    before = page.words[:start]
    assert "it protects no one" in before
    assert "Data readiness failed at cleveland" in before
    assert "completed without cleveland" in before
    assert "The noise of this run is reproducible: no protection." in page.words


def test_secret_noise_is_not_called_reproducible():
    text = render_html(example_report(run=replace(RUN, seeded=False)))
    assert "noise of this run is reproducible" not in text


def test_a_study_without_privacy_says_so():
    words = Page(render_html(example_report(private=False))).words
    assert "without differential privacy" in words
    assert "Epsilon spent" not in words
    assert "it protects no one" not in words


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_render(task):
    words = Page(render_html(example_report(task, seeds=2))).words
    assert "Mean of 2 seeds" in words
    assert ("Confusion matrix" in words) == (task == "multiclass")
    assert ("in mmHg" in words) == (task == "regression")


def test_real_patients_have_no_counts_and_no_performance(report):
    bare = [
        entry.model_copy(update={"flow": (), "training_patients": None, "test_patients": None, "test_records": None})
        for entry in report.participants
    ]
    empty = {"participants": tuple(bare), "provenance": "patients", "performance": (), "curves": (), "readiness": ()}
    page = Page(render_html(report.model_copy(update=empty)))
    assert "counts stay at the sites" in page.words
    assert "Performance over all sites" not in page.words
    assert page.open == []


def test_steps_that_left_out_no_one_are_not_shown(report):
    first = report.participants[0]
    idle = tuple(FlowStep(step=f"x{number} present", records=700, patients=350) for number in range(30))
    flow = (*first.flow[:2], *idle, first.flow[2])
    longer = first.model_copy(update={"flow": flow})
    words = Page(render_html(report.model_copy(update={"participants": (longer, *report.participants[1:])}))).words
    assert "x3 present" not in words
    for step in ("read", "included", "complete"):
        assert f" {step} " in words


def test_many_rounds_make_a_short_table(report):
    rounds = tuple(
        report.convergence[0].model_copy(update={"round_number": number, "dropouts": {}}) for number in range(1, 501)
    )
    words = Page(render_html(report.model_copy(update={"convergence": rounds}))).words
    assert "(60 of 500)" in words


def test_files_are_written_whole(report, text, tmp_path):
    files = write_report(report, make_page(report), tmp_path / "new" / "folder")
    assert files[0].name == "report.html"
    assert files[0].read_text(encoding="utf-8") == text
    assert StudyReport.from_json(files[1].read_bytes()) == report
    assert {"roc", "sites", "epsilon"} < {path.stem for path in files[2:]}
    assert all(path.read_text(encoding="utf-8").startswith("<?xml") for path in files[2:])
    assert not [path for path in (tmp_path / "new").rglob("*") if path.name.startswith(".")]
