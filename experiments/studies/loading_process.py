"""A study is loaded, its hospitals drawn and written, by a copy of this process, which goes on importing meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from conf.processes.copied_process import CopiedProcess
from experiments.studies.definition import PreparedStudy
from experiments.studies.study_files import StudyFiles
from federation.errors import CohortiumError

Load = Callable[[], PreparedStudy]

_NICENESS: Final = 5
"""Imports go first: they are what a short simulation waits for."""


class LoadingProcess(CopiedProcess):
    """Loads a study in a copy of this process. Use it in a ``with`` block, which ends the copy.

    Args:
        load: Loads the study.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        super().__init__(lambda _: _loaded(load), name="hospitals", niceness=_NICENESS)

    def study(self) -> PreparedStudy:
        """The study; loaded here if the copy failed, gave it to another process already, or if files do not hold it.

        Raises:
            CohortiumError: Whatever is wrong with the study or its records.
        """
        answer = self.answer()
        if answer is not None:
            with suppress(CohortiumError):
                return StudyFiles.from_json(answer).opened()
        return self._load()


def _loaded(load: Load) -> bytes:
    files = StudyFiles.of(load())
    return b"" if files is None or files.is_ready else files.model_dump_json().encode()
