"""Files of others: bounded before they are parsed, regular, and refused with the caller's class of error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conf.received_files import read_bounded, read_received
from federation.documents import Document
from federation.errors import EnrolmentRefusedError, InvalidInputError


class Note(Document):
    text: str


def test_a_document_is_read(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text('{"text": "ward"}')
    assert read_received(tmp_path / "note.json", Note) == Note(text="ward")


@pytest.mark.parametrize("content", ["", "[]", '{"text": 3}', '{"text": "a", "more": 1}'])
def test_another_document_is_refused_with_the_callers_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text(content)
    with pytest.raises(EnrolmentRefusedError):
        read_received(tmp_path / "note.json", Note, error=EnrolmentRefusedError)


def test_size_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"x" * 100)
    assert len(read_bounded(tmp_path / "note", largest=100)) == 100
    with pytest.raises(InvalidInputError):
        read_bounded(tmp_path / "note", largest=99)


def test_what_might_never_end_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(InvalidInputError):
            read_bounded(path, largest=10)
