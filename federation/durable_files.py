"""Writing a file so that a crash leaves either the old content or the new, never a part; and adding to the end of one.

The one place in ``federation`` that touches files, because every party needs it: it writes bytes to a path it is given.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator, Iterator
from pathlib import Path


def write_durably(path: Path, content: bytes, *, secret: bool = False) -> None:
    """Write ``content`` to ``path``: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: Where to; its folder is made if it is absent.
        content: What.
        secret: Only the owner may read the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(temporary, flags, 0o600 if secret else 0o666), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new files in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AppendOnlyFile:
    """A file that several processes add to, one at a time; every addition is on the disk before it is acknowledged.

    Args:
        path: The file; it and its folder are made if they are absent, readable by the owner only.

    Raises:
        OSError: If it cannot be opened. So do all methods, if the disk does not do what they say.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        is_new = not path.exists()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if is_new:
            sync_folder(path.parent)

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Keep every other writer out. The lock falls with the process, however that ends."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def is_in_place(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._descriptor).st_size

    def read_from(self, start: int) -> bytes:
        """Everything from byte ``start`` on."""
        return b"".join(_chunks(self._descriptor, start))

    def append(self, content: bytes, *, at: int) -> None:
        """Write ``content`` at the end, which is byte ``at``. If that fails, what was written of it is taken back."""
        try:
            written = 0
            while written < len(content):
                written += os.pwrite(self._descriptor, content[written:], at + written)
            os.fsync(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # what cannot be taken back now is found by the next writer
                self.cut(at)
            raise

    def cut(self, size: int) -> None:
        """Drop everything from byte ``size`` on."""
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; once."""
        os.close(self._descriptor)


def read_lines(path: Path, *, longest: int) -> Iterator[bytes]:
    """The lines of a file, each with its newline; the last may lack it. A longer line comes in pieces of ``longest`` bytes.

    Args:
        path: The file.
        longest: Bytes of the longest line that is read whole.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as stream:
        while line := stream.readline(longest):
            yield line


def read_whole(path: Path, *, largest: int) -> bytes:
    """The content of a file that another party may have made: at most ``largest + 1`` bytes are read.

    Raises:
        OSError: If it cannot be read; symbolic links are not followed.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
        return stream.read(largest + 1)


def _chunks(descriptor: int, start: int) -> Iterator[bytes]:
    while chunk := os.pread(descriptor, 1 << 20, start):
        yield chunk
        start += len(chunk)
