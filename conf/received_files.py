"""Documents in files that others wrote: of bounded size before they are parsed, and strictly validated."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

from federation.documents import Document
from federation.errors import CohortiumError, InvalidInputError

LARGEST_BYTES: Final = 4 * 1024 * 1024

AnyDocument = TypeVar("AnyDocument", bound=Document)


def read_bounded(path: Path, *, largest: int = LARGEST_BYTES) -> bytes:
    """The content of a file.

    Args:
        path: A regular file.
        largest: Bytes it may have.

    Raises:
        InvalidInputError: If it cannot be read or is larger.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or device might never end
            raise InvalidInputError(f"expected a regular file at {path}, got something else")
        with path.open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as failure:
        raise InvalidInputError(
            f"expected a readable file at {path}, got {failure.strerror or type(failure).__name__}",
            remedy="check the path and its permissions",
        ) from failure
    if len(content) > largest:
        raise InvalidInputError(
            f"expected a file of at most {largest} bytes at {path}, got more",
            remedy="check that it is the file you mean",
        )
    return content


def read_received(
    path: Path,
    kind: type[AnyDocument],
    *,
    error: type[CohortiumError] = InvalidInputError,
    largest: int = LARGEST_BYTES,
) -> AnyDocument:
    """A document from a file that somebody sent.

    Args:
        path: The file, JSON.
        kind: What it must hold.
        error: Class of the error if it holds something else.
        largest: Bytes it may have.

    Raises:
        InvalidInputError: If it cannot be read or is too large.
        CohortiumError: ``error``, if it is not such a document.
    """
    return kind.from_json(read_bounded(path, largest=largest), error=error)
