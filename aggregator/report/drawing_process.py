"""A report's page made by a copy of this process, which imports matplotlib and compiles the page while the study is still trained.

A report goes in as JSON, page and figures come back as JSON: the same as if they were made here. Whatever goes wrong with the
copy, they are made here instead.
"""

from __future__ import annotations

import gc
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aggregator.report.content import StudyReport
from aggregator.report.page import Figures, Page, figures_as_data, figures_from
from conf.processes.copied_process import CopiedProcess, Receive, pays_to_copy

if TYPE_CHECKING:
    from aggregator.report.figures import Axes

_LONGEST_SECONDS: Final = 120.0
_NICENESS: Final = 15
"""What is imported here is needed last."""


class DrawingProcess(CopiedProcess):
    """Makes the page of one report. Use it in a ``with`` block, which ends the process. Nothing else may run in this one yet."""

    def __init__(self) -> None:
        super().__init__(_make_page, name="page", niceness=_NICENESS)

    def begin(self, report: StudyReport) -> None:
        """Let it make the report's page. Once."""
        self.ask(report.model_dump_json().encode())

    def page(self, report: StudyReport) -> Page:
        """The page and figures of the report that was begun. Once."""
        answer = self.answer(seconds=_LONGEST_SECONDS)
        if answer is not None:
            with suppress(ValueError):
                return Page.from_json(answer)
        from aggregator.report.html import make_page

        return make_page(report)


def _make_page(receive: Receive) -> bytes:
    """Import what draws, then make the page of the report that comes in; nothing comes in if the study ends without one."""
    gc.disable()  # it lives for one page
    # What a library has to say about fonts would stand among the study's lines.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    from aggregator.report.undescribed import describe_nothing

    describe_nothing()
    from aggregator.report.figures import draw_svg
    from aggregator.report.html import make_page, page_template

    page_template()
    draw_svg("first", _label)  # fonts are looked for before they are needed
    report = StudyReport.from_json(receive())
    return make_page(report, figures=_drawn(report)).as_json()


def _drawn(report: StudyReport) -> Figures:
    """All figures, every other one by another copy where there is a processor for it."""
    from aggregator.report.drawing import pictures
    from aggregator.report.figures import only_part

    if not pays_to_copy():
        return pictures(report)

    def drawn(part: int) -> Figures:
        with only_part(part, 2):
            return pictures(report)

    with CopiedProcess(lambda _: json.dumps(figures_as_data(drawn(1))).encode(), name="figures") as copy:
        own = drawn(0)
        text = copy.answer(seconds=_LONGEST_SECONDS)
    others = drawn(1) if text is None else figures_from(json.loads(text))
    return {
        name: tuple(one if one.svg else other for one, other in zip(section, others[name], strict=True))
        for name, section in own.items()
    }


def _label(axes: Axes) -> None:
    axes.set_xlabel("first")
