"""The authority's folder on its offline machine: a CA key, a signing key, the public description of both, and the register.

Private keys are PEM files that only their owner can read, encrypted where a passphrase is given.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from aggregator.authority.certificates import is_key_of, new_authority
from aggregator.authority.register import Register
from conf.received_files import read_bounded
from federation.durable_files import sync_folder, write_durably
from federation.errors import InvalidInputError
from federation.governance.enrolment import Authority
from federation.protocol.secure_sum.key_agreement import expand, public_key
from federation.protocol.signatures import SigningKey

SHORTEST_PASSPHRASE: Final = 12
_SEALING: Final = b"cohortium/enrolment/token-sealing/1"
_PRIVATE_FOLDER: Final = 0o700
_LARGEST_FILE: Final = 64 * 1024


@dataclass(frozen=True)
class AuthorityKeys:
    """The authority's unlocked private keys. Never shown."""

    certification: ec.EllipticCurvePrivateKey
    signing: SigningKey

    @property
    def sealing(self) -> bytes:
        """32 secret bytes of X25519, to which sites seal their tokens. Derived from the signing key."""
        return expand(self.signing.to_bytes(), info=_SEALING)

    def __repr__(self) -> str:
        return "AuthorityKeys()"


class Office:
    """An authority's folder, opened. Its private keys stay locked until :meth:`unlock`.

    Args:
        folder: As :meth:`create` made it.

    Raises:
        InvalidInputError: If it is no authority's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        public = self.folder / "authority.json"
        if not public.is_file():
            raise InvalidInputError(
                f"expected an authority's folder at {self.folder}, got no authority.json in it",
                remedy="name it with --authority; `cohortium consortium init` makes one",
            )
        self.authority = Authority.from_json(read_bounded(public, largest=_LARGEST_FILE), error=InvalidInputError)
        self.register = Register(self.folder / "register.sqlite")

    @staticmethod
    def create(folder: Path, consortium: str, *, passphrase: bytes | None, now: dt.datetime) -> Authority:
        """Make an authority: the folder appears whole, or not at all.

        Args:
            folder: Must not exist, or be empty.
            consortium: Short name.
            passphrase: Encrypts the private keys.
            now: With time zone.

        Raises:
            InvalidInputError: If the folder holds something, or the passphrase is too short.
        """
        folder = folder.expanduser().absolute()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InvalidInputError(
                f"expected a new or empty folder at {folder}, got one that holds something",
                remedy="an authority is made once; name another folder with --authority",
            )
        if passphrase is not None and len(passphrase) < SHORTEST_PASSPHRASE:
            raise InvalidInputError(
                f"expected a passphrase of at least {SHORTEST_PASSPHRASE} characters, got {len(passphrase)}",
                remedy="choose a longer one: whoever copies the folder can try passphrases for ever",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir(mode=_PRIVATE_FOLDER)
            authority = _fill(temporary, consortium, passphrase=passphrase, now=now)
            temporary.replace(folder)  # onto nothing, or onto an empty folder
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(folder.parent)
        return authority

    def unlock(self, passphrase: bytes | None) -> AuthorityKeys:
        """Read the private keys.

        Args:
            passphrase: If they are encrypted.

        Raises:
            InvalidInputError: If they cannot be read with it, or are not those of this authority.
        """
        certification = self._load("ca.key", passphrase)
        signing = self._load("signing.key", passphrase)
        if not isinstance(certification, ec.EllipticCurvePrivateKey) or not isinstance(signing, Ed25519PrivateKey):
            raise self._not_ours()
        keys = AuthorityKeys(certification, SigningKey.from_bytes(signing.private_bytes_raw()))
        is_ours = (
            keys.signing.public_key == self.authority.public_key
            and public_key(keys.sealing).hex() == self.authority.sealing_key
            and is_key_of(self.authority.certificate, certification)
        )
        if not is_ours:
            raise self._not_ours()
        return keys

    def close(self) -> None:
        """Close the register."""
        self.register.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, name: str, passphrase: bytes | None) -> object:
        path = self.folder / name
        content = read_bounded(path, largest=_LARGEST_FILE)
        is_encrypted = content.startswith(b"-----BEGIN ENCRYPTED")
        try:
            return load_pem_private_key(content, passphrase if is_encrypted else None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as failure:
            raise InvalidInputError(
                f"expected the passphrase of the key {path}, got none or a wrong one"
                if is_encrypted
                else f"expected a private key in {path}, got something else",
                remedy="give the file that holds it with --passphrase-file" if is_encrypted else "restore the folder",
            ) from failure

    def _not_ours(self) -> InvalidInputError:
        return InvalidInputError(
            f"expected the private keys of the authority in {self.folder}, got others",
            remedy="restore the authority's folder as a whole, from its newest copy",
        )


def read_passphrase(path: Path | None) -> bytes | None:
    """The first line of a file.

    Raises:
        InvalidInputError: If the file cannot be read or its first line is empty.
    """
    if path is None:
        return None
    first = read_bounded(path, largest=_LARGEST_FILE).split(b"\n", 1)[0].rstrip(b"\r")
    if not first:
        raise InvalidInputError(f"expected a passphrase in the first line of {path}, got an empty line")
    return first


def _fill(folder: Path, consortium: str, *, passphrase: bytes | None, now: dt.datetime) -> Authority:
    certification, certificate = new_authority(consortium, now=now)
    signing = Ed25519PrivateKey.generate()
    keys = AuthorityKeys(certification, SigningKey.from_bytes(signing.private_bytes_raw()))
    authority = Authority.from_data(
        {
            "consortium": consortium,
            "certificate": certificate,
            "public_key": keys.signing.public_key,
            "sealing_key": public_key(keys.sealing).hex(),
        },
        error=InvalidInputError,
    )
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    for name, key in (("ca.key", certification), ("signing.key", signing)):
        write_durably(folder / name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), secret=True)
    write_durably(folder / "authority.crt", certificate.encode())
    write_durably(folder / "authority.json", authority.model_dump_json(indent=1).encode())
    Register.create(folder / "register.sqlite")
    return authority
