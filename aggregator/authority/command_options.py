"""What the authority's commands have in common: their options, the unlocked office, and how an answer is shown."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from aggregator.authority.office import AuthorityKeys, Office
    from federation.documents import Document

DEFAULT_AUTHORITY: Final = Path("~/.cohortium/authority")

AuthorityFolder = Annotated[
    Path,
    typer.Option("--authority", envvar="COHORTIUM_AUTHORITY", help="The authority's folder, on an offline machine."),
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="Its first line encrypts the authority's private keys.")
]
RequestFile = Annotated[Path, typer.Argument(metavar="REQUEST", help="The request, as it arrived.")]
Output = Annotated[Path, typer.Option("--output", help="Where to write the answer.")]
Heard = Annotated[str | None, typer.Option("--fingerprint", help="The request's, as the site reads it out.")]
SiteName = Annotated[str, typer.Argument(metavar="SITE", help="The site's short name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


def now() -> dt.datetime:
    """The time, in UTC."""
    return dt.datetime.now(tz=dt.UTC)


@contextmanager
def opened(folder: Path, passphrase_file: Path | None) -> Generator[tuple[Office, AuthorityKeys]]:
    """The office with its private keys, closed at the end."""
    from aggregator.authority.office import Office, read_passphrase

    with Office(folder) as office:
        yield office, office.unlock(read_passphrase(passphrase_file))


def write(path: Path, document: Document) -> None:
    """Write a document that holds no secret."""
    from federation.durable_files import write_durably

    write_durably(path, document.model_dump_json(indent=1).encode())


def spoken_fingerprint(fingerprint: str) -> dict[str, str]:
    """The authority's fingerprint, whole and for reading out."""
    from federation.governance.fingerprints import spoken

    return {"authority_fingerprint": fingerprint, "read_out": spoken(fingerprint)}


def show(facts: Mapping[str, object], notes: Sequence[str], *, as_json: bool) -> None:
    """Print facts as a table with notes below it, or as JSON."""
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(name.replace("_", " "), Text(shown))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for note in notes:
        console.print(note, markup=False)
