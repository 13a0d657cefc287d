"""Studies that a site has paused: the agent refuses their requests until they are resumed. Read again with every request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from conf.received_files import read_received
from federation.documents import Document
from federation.durable_files import write_durably
from site_client.accounts import give_back
from site_client.home_paths import SiteLayout

_FILE: Final = "paused.json"


class Paused(Document):
    """What is paused."""

    everything: bool = False
    studies: tuple[Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")], ...] = ()
    """Digests of manifests."""

    def holds(self, study: str) -> bool:
        """Whether the study is paused."""
        return self.everything or study in self.studies


def read_paused(layout: SiteLayout) -> Paused:
    """What is paused.

    Raises:
        InvalidInputError: If the file is not what :func:`pause` wrote.
    """
    path = _path(layout)
    return read_received(path, Paused) if path.exists() else Paused()


def pause(layout: SiteLayout, study: str | None) -> None:
    """Pause one study, or with ``None`` all of them, those of the future included."""
    paused = read_paused(layout)
    if study is None:
        changed = paused.model_copy(update={"everything": True})
    else:
        changed = Paused(everything=paused.everything, studies=tuple(sorted({*paused.studies, study})))
    _write(layout, changed)


def resume(layout: SiteLayout, study: str | None) -> None:
    """Resume one study, or with ``None`` all of them. A pause of everything outlasts the resumption of one study."""
    paused = read_paused(layout)
    left = tuple(other for other in paused.studies if other != study)
    _write(layout, Paused() if study is None else Paused(everything=paused.everything, studies=left))


def _write(layout: SiteLayout, paused: Paused) -> None:
    write_durably(_path(layout), paused.model_dump_json().encode(), secret=True)
    give_back(layout)


def _path(layout: SiteLayout) -> Path:
    return layout.folder / _FILE
