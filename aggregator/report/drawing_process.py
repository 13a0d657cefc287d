"""Figures drawn by a process of their own, which imports matplotlib while the study is still being trained.

One report goes in as JSON, the figures come back as JSON: the same as if they were drawn here. Whatever goes wrong with the
process, they are drawn here instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from aggregator.report.content import StudyReport
from aggregator.report.picture import Picture

if TYPE_CHECKING:
    from aggregator.report.figures import Axes

_LONGEST_SECONDS: Final = 120.0
_PATIENCE_SECONDS: Final = 5.0

Drawn = dict[str, tuple[Picture, ...]]


class DrawingProcess:
    """Draws the figures of one report. Use it in a ``with`` block, which ends the process."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parent.parent.parent)
        search_path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "aggregator.report.drawing_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": search_path},
                start_new_session=True,  # Ctrl-C is for the study; this ends with it
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:  # closes the pipes and waits
                process.kill()

    def draw(self, report: StudyReport) -> Drawn:
        """All figures of the report, by section. Once: the process ends with it."""
        drawn = self._drawn_there(report)
        if drawn is None:
            from aggregator.report.drawing import pictures

            return pictures(report)
        return drawn

    def _drawn_there(self, report: StudyReport) -> Drawn | None:
        process, self._process = self._process, None
        if process is None:
            return None
        with process:
            try:
                text, _ = process.communicate(report.model_dump_json().encode(), timeout=_LONGEST_SECONDS)
                return drawn_from(text) if process.wait(_PATIENCE_SECONDS) == 0 else None
            except (OSError, ValueError, subprocess.TimeoutExpired):
                process.kill()
                return None


def drawn_from(text: bytes) -> Drawn:
    """Figures as :func:`drawn_as_json` wrote them.

    Raises:
        ValueError: If they are not.
    """
    try:
        return {name: tuple(Picture(**entry) for entry in section) for name, section in json.loads(text).items()}
    except (AttributeError, TypeError) as failure:
        raise ValueError("expected figures by section") from failure


def drawn_as_json(drawn: Drawn) -> bytes:
    """Figures by section, as JSON."""
    return json.dumps({name: [asdict(picture) for picture in section] for name, section in drawn.items()}).encode()


def _label(axes: Axes) -> None:
    axes.set_xlabel("first")


def main() -> None:
    """Import what draws, then draw the report that comes in; nothing comes in if the study ends without one."""
    from aggregator.report.drawing import pictures
    from aggregator.report.figures import draw_svg  # fonts are looked for before they are needed

    draw_svg("first", _label)
    content = sys.stdin.buffer.read()
    if content:
        sys.stdout.buffer.write(drawn_as_json(pictures(StudyReport.from_json(content))))


if __name__ == "__main__":
    main()
