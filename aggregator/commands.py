"""``cohortium study``: work on the one document that says what will be computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from federation.errors import ManifestError

app = typer.Typer(help="Check, seal and show study manifests.", no_args_is_help=True, pretty_exceptions_enable=False)

_File = Annotated[Path, typer.Argument(metavar="FILE", help="The manifest: YAML or JSON, plain or sealed.")]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")]


@app.command()
def check(file: _File, *, as_json: _Json = False) -> None:
    """Validate a manifest, its cohort and its privacy arithmetic, and print what it says."""
    from aggregator.manifest_file import read_manifest_file
    from aggregator.study_checks import check_study

    read = read_manifest_file(file)
    manifest = read.manifest
    promise = check_study(manifest)
    facts = {
        "study": f"{manifest.study}, version {manifest.version}",
        "title": manifest.title,
        "question": manifest.question,
        "sites": ", ".join(entry.site for entry in manifest.roster),
        "cohort": f"{manifest.cohort.provenance} records, {len(manifest.cohort.inclusion)} inclusion and "
        f"{len(manifest.cohort.exclusion)} exclusion criteria",
        "variables": f"{len(manifest.contract.variables)}, outcome {manifest.contract.outcome.name}",
        "task and model": f"{manifest.task}, {manifest.model.kind}",
        "training": f"{manifest.algorithm.kind}, {manifest.schedule.rounds} rounds of "
        f"{manifest.schedule.local_steps} local steps",
        "privacy": promise,
        "released": f"performance: {manifest.evaluation.release}",
        "expires": str(manifest.expires or "never"),
        "sealed": "yes, the digest matches" if read.sealed else "no",
        "digest": manifest.digest,
    }
    if as_json:
        typer.echo(json.dumps({"valid": True, **facts}, indent=1, ensure_ascii=False))
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(name, Text(value))
    console = Console(highlight=False, soft_wrap=True)
    console.print(table, markup=False)
    console.print("valid", style="green")


@app.command()
def digest(file: _File) -> None:
    """Print the manifest's digest, and nothing else."""
    from aggregator.manifest_file import read_manifest_file

    typer.echo(read_manifest_file(file).manifest.digest)


@app.command()
def seal(
    file: _File,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the sealed manifest.")],
) -> None:
    """Validate a manifest and write it with its digest, every default written out."""
    from aggregator.manifest_file import read_manifest_file
    from aggregator.study_checks import check_study
    from federation.durable_files import write_durably

    manifest = read_manifest_file(file).manifest
    check_study(manifest)
    content = manifest.sealed().encode()
    if output.exists() and (output.is_dir() or output.read_bytes() != content):
        raise ManifestError(
            f"expected {output} to be new, it holds something else",
            remedy="a sealed manifest is never overwritten: choose another --output, or remove the old file yourself",
        )
    write_durably(output, content)
    typer.echo(f"{manifest.digest}  {output}")


@app.command()
def show(file: _File, *, as_json: _Json = False) -> None:
    """Print the whole manifest, every default written out."""
    import yaml

    from aggregator.manifest_file import read_manifest_file

    data = read_manifest_file(file).manifest.as_data()
    text = (
        json.dumps(data, indent=1, ensure_ascii=False)
        if as_json
        else yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    )
    typer.echo(text.rstrip())


@app.command()
def schema() -> None:
    """Print the JSON Schema of a study manifest."""
    from federation.study.manifest import StudyManifest

    typer.echo(json.dumps(StudyManifest.model_json_schema(), indent=1, ensure_ascii=False))
