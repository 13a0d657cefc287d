"""``python -m experiments.rehearsal``: three hospitals over mutual TLS on this machine, from nothing to a released model."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.module_command import run_module
from experiments.rehearsal.closing import close_out
from experiments.rehearsal.consortium import DESKS, Rehearsal
from experiments.rehearsal.networks import Networks
from experiments.rehearsal.reach import check_wall
from experiments.rehearsal.records import RehearsedRecords, heart_disease, synthetic
from experiments.rehearsal.troubles import Troubles
from federation.errors import ConfigurationError, RecordsUnreadableError


def main(
    *,
    study: Annotated[
        str, typer.Option(help="heart_disease, synthetic, or auto: the first whose records are there.")
    ] = "auto",
    rounds: Annotated[int, typer.Option(min=1, help="Of the study.")] = 5,
    data: Annotated[Path | None, typer.Option(envvar="COHORTIUM_DATA", help="Downloaded records.")] = None,
    folder: Annotated[Path, typer.Option(help="Made new; an old rehearsal in it is removed.")] = Path(
        "outputs/rehearsal"
    ),
    namespaces: Annotated[
        bool,
        typer.Option("--namespaces", help="Every party in a network of its own, with a wall, a death and a cut. Root."),
    ] = False,
) -> None:
    """Rehearse: enrol, approve, train with secure aggregation and privacy over mutual TLS, release, verify, score."""
    started, console = time.monotonic(), Console(highlight=False, width=200)
    check_replaceable(folder)
    # Unix sockets have short names, and other accounts must reach their part: a folder of its own below the system's.
    place = Path(tempfile.mkdtemp(prefix="cohortium-"))
    place.chmod(0o755)
    os.umask(0o022)
    records = _records(study, data, place / "records")
    console.print(f"{len(records.mappings)} hospitals with {records.provenance} records: {', '.join(records.mappings)}")
    try:
        if namespaces:
            with Networks(tuple(records.mappings)) as networks:
                for line in check_wall(networks):
                    console.print(f"checked: {line}")
                report = _rehearse(Rehearsal(place, records, rounds, console, networks))
        else:
            report = _rehearse(Rehearsal(place, records, rounds, console))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(place, folder)
    console.print(f"rehearsed in {time.monotonic() - started:.0f} s; report: {(folder / report).resolve()}")


def _rehearse(rehearsal: Rehearsal) -> Path:
    """All steps; what was started is ended, however it ends."""
    try:
        rehearsal.found()
        rehearsal.enrol()
        rehearsal.propose()
        rehearsal.connect()
        study = rehearsal.launch()
        if rehearsal.networks is not None:
            Troubles(rehearsal, rehearsal.networks, study).run()
        rehearsal.finish(study)
        return close_out(rehearsal)
    finally:
        rehearsal.close()


def check_replaceable(folder: Path) -> None:
    """Only a rehearsal is replaced by another.

    Raises:
        ConfigurationError: If the folder holds anything else.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / DESKS).is_dir() or not any(folder.iterdir()))):
        raise ConfigurationError(
            f"expected a new folder or an old rehearsal at {folder}, got something else", remedy="name another --folder"
        )


def _records(study: str, data: Path | None, folder: Path) -> RehearsedRecords:
    if study not in ("auto", "heart_disease", "synthetic"):
        raise ConfigurationError(f"expected --study auto, heart_disease or synthetic, got {study!r}")
    if study == "synthetic":
        return synthetic(folder)
    try:
        return heart_disease(data, folder)
    except RecordsUnreadableError:
        if study == "heart_disease":
            raise
        return synthetic(folder)


if __name__ == "__main__":
    run_module(main)
