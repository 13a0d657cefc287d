"""The key that signs a ledger's heads: 32 secret bytes in a file beside the ledger that only its owner can read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from federation.durable_files import sync_folder
from federation.errors import LedgerDamagedError, StudyError
from federation.protocol.signatures import SigningKey


def key_path(ledger: Path) -> Path:
    """Where the key of a ledger is."""
    return ledger.with_name(ledger.name + ".key")


def read_key(ledger: Path) -> SigningKey | None:
    """The key, or ``None`` if there is none: a ledger without its key can be read and verified, nothing else.

    Raises:
        LedgerDamagedError: If the file is not a key.
        StudyError: If it cannot be read.
    """
    path = key_path(ledger)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as failure:
        raise _unavailable(path, failure) from failure
    if len(content) != 32:  # noqa: PLR2004
        raise LedgerDamagedError(
            f"expected a signing key of 32 bytes in {path}, got {len(content)} bytes",
            remedy="put the key of this ledger back; without it nothing can be released",
        )
    return SigningKey.from_bytes(content)


def find_or_make_key(ledger: Path) -> SigningKey:
    """The key, made if there is none; of two processes that make one, both get the same.

    A key that is found is used again: should a ledger be deleted and made anew, the heads of the old one are still
    its own, and the new one locks itself when it is shown one.

    Raises:
        StudyError: If the folder cannot be written.
    """
    path = key_path(ledger)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        if not path.exists():
            try:
                _write_secret(temporary, SigningKey.generate().to_bytes())
                with contextlib.suppress(FileExistsError):  # another process was first: its key is the key
                    os.link(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
    except OSError as failure:
        raise _unavailable(path, failure) from failure
    key = read_key(ledger)
    if key is None:
        raise _unavailable(path, FileNotFoundError(0, "it vanished again"))
    return key


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)


def _unavailable(path: Path, failure: OSError) -> StudyError:
    return StudyError(
        f"expected to read and write the key {path}, got: {failure.strerror or type(failure).__name__}",
        remedy="mend the disk, its space or its permissions, then go on",
    )
