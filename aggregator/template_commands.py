"""``cohortium study new`` and ``calibrate``: a manifest to begin with, and the noise that a changed one needs."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.console import Console
from rich.text import Text

from federation.errors import InvalidInputError, ManifestError

_PINNED: Final = ("cohortium", "torch", "numpy", "opacus", "flwr")


def new(  # noqa: PLR0913 - the options of a command, all keyword-only
    *,
    contract: Annotated[Path, typer.Option("--contract", help="The data contract, YAML or JSON.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the manifest.")],
    members: Annotated[
        Path | None, typer.Option("--members", help="The consortium's members.json: fills the roster with their keys.")
    ] = None,
    patients: Annotated[
        list[str] | None,
        typer.Option("--patients", metavar="SITE=NUMBER", help="Declared training patients of a site. Repeatable."),
    ] = None,
    provenance: Annotated[
        Literal["patients", "public", "synthetic"], typer.Option("--provenance", help="Whose records.")
    ] = "patients",
    rounds: Annotated[int, typer.Option("--rounds", min=1)] = 20,
    local_steps: Annotated[int, typer.Option("--local-steps", min=1)] = 10,
    epsilon: Annotated[float, typer.Option("--epsilon", help="Promise to each patient, over the whole study.")] = 2.0,
    authority: Annotated[
        Path | None,
        typer.Option("--authority", help="The authority's public authority.json: checks who signed the members' list."),
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option("--fingerprint", help="The authority's, as its officer reads it out: checks --authority."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")] = False,
) -> None:
    """Write a manifest to begin with: private, masked, its noise calibrated, and with comments.

    cohortium study new --contract contract.yaml --members members.json --authority authority.json --patients st_mary=400 -o s.yaml
    """
    from aggregator.members_file import read_members
    from aggregator.study_template import Wishes, template
    from conf.strict_yaml import read_strict
    from federation.data.contract import DataContract
    from federation.durable_files import write_durably

    agreed = DataContract.from_data(read_strict(contract, what="a data contract", error=ManifestError))
    wishes = Wishes(provenance=provenance, rounds=rounds, local_steps=local_steps, epsilon=epsilon)
    listed = read_members(members, authority=authority, heard=fingerprint)
    keys = dict(listed.keys)
    text = listed.comment + template(
        agreed, wishes, keys=keys, patients=_numbers(patients or [], keys), software=_versions()
    )
    if output.exists():
        raise InvalidInputError(f"expected {output} to be new, it exists", remedy="choose another --output")
    write_durably(output, text.encode())
    if as_json:
        facts = {"file": str(output), "sites": list(keys), "members_checked": listed.is_checked, "members": listed.said}
        typer.echo(json.dumps(facts, indent=1))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(listed.said, style="green" if listed.is_checked else "bold yellow"))
    console.print(Text(f"written  {output}: complete it, then `cohortium study check`"))


def calibrate(
    file: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest, whatever noise it has now.")],
) -> None:
    """Print the smallest noise_multiplier that keeps the promise of a manifest, after its rounds or steps were changed.

    cohortium study calibrate study.yaml
    """
    from aggregator.study_noise import smallest_noise
    from conf.strict_yaml import read_strict

    typer.echo(f"{smallest_noise(read_strict(file, what='a manifest', error=ManifestError))!r}")


def _numbers(options: list[str], keys: dict[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for option in options:
        site, equals, number = option.partition("=")
        if not equals or not number.isascii() or not number.isdigit() or site in found:
            raise InvalidInputError(f"expected --patients SITE=NUMBER, once per site, got {option!r}")
        if site not in keys:
            raise InvalidInputError(
                f"expected --patients of a member, got {site!r}",
                remedy=f"give --members with it; members are {sorted(keys)}",
            )
        found[site] = int(number)
    return found


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PINNED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
