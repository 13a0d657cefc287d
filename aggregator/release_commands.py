"""``cohortium study release``, ``verify-release``, ``accept-release`` and ``register-release``.

On the host that ran the study, what they do is in its audit log.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from aggregator.host.home_paths import DEFAULT_HOME, HOME_VARIABLE
from federation.errors import InvalidInputError

if TYPE_CHECKING:
    from federation.governance.releases import OpenedRelease
    from federation.protocol.signatures import SigningKey

_KEY_BYTES = 32
_LARGEST_PROPOSAL = 2**24

_Release = Annotated[Path, typer.Argument(metavar="RELEASE", help="The release folder.")]
_Key = Annotated[Path, typer.Option("--key", help="Secret key that signs: 32 bytes, such as LEAD.key.")]
_Lead = Annotated[str | None, typer.Option("--lead", help="Public key of the lead, 64 hexadecimal digits.")]
_Proposal = Annotated[
    Path | None,
    typer.Option("--proposal", help="The signed proposal of the study: says who leads and which sites take part."),
]
_Home = Annotated[
    Path,
    typer.Option(
        "--home", envvar=HOME_VARIABLE, help="The aggregator host's folder: if it ran the study, its log says so."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``cohortium study``."""
    app.command("release")(release)
    app.command("verify-release")(verify_release)
    app.command("accept-release")(accept_release)
    app.command("register-release")(register_release)


def release(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Output folder of a finished study.")],
    *,
    key: _Key,
    output: Annotated[Path, typer.Option("--output", "-o", help="Release folder to write; must not exist.")],
    statistics: Annotated[
        bool, typer.Option("--statistics/--no-statistics", help="Release the study's exact statistics, too.")
    ] = True,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Check a finished study and write its model as a signed folder. Nothing is written if anything does not hold.

    cohortium study release outputs/demo --key LEAD.key -o release
    """
    from aggregator.host.release_entries import host_that_ran, record_hash, release_entry
    from aggregator.release.bundle import make_release
    from aggregator.release.finished_study import read_finished

    lead, now = _read_key(key), dt.datetime.now(tz=dt.UTC)
    study = read_finished(folder, with_statistics=statistics)
    digest = study.manifest.digest
    with release_entry(host_that_ran(digest, home=home, run=folder), "model_released", study=digest, now=now) as hashes:
        opened = make_release(study, output, lead=lead, now=now)
        hashes["release"] = record_hash(output)
    _show(output, opened, as_json=as_json)


def verify_release(
    folder: _Release,
    *,
    lead: _Lead = None,
    proposal: _Proposal = None,
    run_graph: Annotated[bool, typer.Option("--graph/--no-graph", help="Run the ONNX model, too.")] = True,
    as_json: _Json = False,
) -> None:
    """Check every file and signature of a release, and that its ONNX model is its model.

    cohortium study verify-release release --lead 64_HEXADECIMAL_DIGITS
    """
    from aggregator.release.bundle import check_graph

    opened = _open(folder, lead, proposal)
    if run_graph:
        check_graph(opened)
    _show(folder, opened, as_json=as_json)


def accept_release(
    folder: _Release,
    *,
    key: _Key,
    signer: Annotated[str, typer.Option("--as", help="Who signs: the site's name.")],
    lead: _Lead = None,
    proposal: _Proposal = None,
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Check a release and add a signature of one's own to its record.

    cohortium study accept-release release --key SITE/identity.key --as north --proposal proposal.json
    """
    from aggregator.host.release_entries import host_that_ran, record_hash, release_entry
    from aggregator.release.bundle import add_acceptance, check_graph

    opened = _open(folder, lead, proposal)
    digest = opened.manifest.digest
    layout = host_that_ran(digest, home=home)
    with release_entry(layout, "release_verified", study=digest, now=dt.datetime.now(tz=dt.UTC), site=signer) as hashes:
        check_graph(opened)
        add_acceptance(folder, lead=opened.signed.lead.public_key, signer=signer, key=_read_key(key))
        hashes["accepted"] = record_hash(folder)
    _show(folder, _open(folder, lead, proposal), as_json=as_json)


def register_release(
    folder: _Release,
    *,
    lead: _Lead = None,
    proposal: _Proposal = None,
    uri: Annotated[str, typer.Option("--uri", help="MLflow: sqlite:////absolute/mlflow.db or http://127.0.0.1:5000.")],
    name: Annotated[str | None, typer.Option("--name", help="Registered model. Otherwise the study's name.")] = None,
    experiment: Annotated[str, typer.Option("--experiment", help="MLflow experiment.")] = "cohortium",
    home: _Home = DEFAULT_HOME,
    as_json: _Json = False,
) -> None:
    """Check a release and enter it in MLflow's registry of models; repeating it changes nothing.

    cohortium study register-release release --lead 64_HEXADECIMAL_DIGITS --uri http://127.0.0.1:5000
    """
    from aggregator.host.release_entries import host_that_ran, record_hash, release_entry
    from aggregator.mlflow_registry import register_release as register_opened
    from aggregator.tracking import TrackingTarget

    opened = _open(folder, lead, proposal)
    kind = "sqlite" if uri.startswith("sqlite:") else "server"
    target = TrackingTarget.choose(kind, uri=uri, experiment=experiment, output=folder)
    digest = opened.manifest.digest
    layout = host_that_ran(digest, home=home)
    with release_entry(layout, "release_verified", study=digest, now=dt.datetime.now(tz=dt.UTC)) as hashes:
        version = register_opened(folder, opened, target, name=name)
        hashes["registered"] = record_hash(folder)
    if as_json:
        typer.echo(json.dumps({"name": version.name, "version": version.version, "run": version.run}, indent=1))
    else:
        typer.echo(f"{version.name}, version {version.version}, of run {version.run}")


def _open(folder: Path, lead: str | None, proposal: Path | None) -> OpenedRelease:
    from federation.governance.releases import open_release

    if lead is not None and proposal is None:
        return open_release(folder, lead=lead)
    if proposal is None or lead is not None:
        raise InvalidInputError(
            "expected one of --lead and --proposal, got " + ("none" if lead is None else "both"),
            remedy="a release says by itself who signed it, so the lead's key has to come from elsewhere",
        )
    from federation.durable_files import read_whole
    from federation.governance.proposals import SignedProposal
    from federation.governance.releases import for_proposal

    try:
        content = read_whole(proposal, largest=_LARGEST_PROPOSAL)
    except OSError as failure:
        raise InvalidInputError(
            f"expected a signed proposal at {proposal}, got: {failure.strerror}", remedy="check the path"
        ) from failure
    return for_proposal(folder, SignedProposal.from_json(content, error=InvalidInputError))


def _read_key(path: Path) -> SigningKey:
    from federation.protocol.signatures import SigningKey

    try:
        content = path.read_bytes() if path.stat().st_size == _KEY_BYTES else b""
    except OSError as failure:
        raise InvalidInputError(
            f"expected a key at {path}, got: {failure.strerror}", remedy="check the path"
        ) from failure
    return SigningKey.from_bytes(content)


def _show(folder: Path, opened: OpenedRelease, *, as_json: bool) -> None:
    signed = opened.signed
    unknown = [entry.signer for entry in signed.acceptances if entry.signer not in opened.accepted]
    facts = {
        "folder": str(folder),
        "study": signed.release.study,
        "manifest_digest": signed.release.manifest_digest,
        "released": signed.release.released,
        "lead": signed.lead.public_key,
        "accepted_by": list(opened.accepted),
        "not_checked": unknown,
        "audited": signed.release.audited,
        "largest_difference": signed.release.parity.largest_difference,
        "files": dict(signed.release.files),
        "statistics": [analysis.name for analysis in opened.analyses],
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"{folder}: the release of study {signed.release.study} holds", style="green"))
    console.print(Text(f"signed by lead {signed.lead.public_key} at {signed.release.released}"))
    if opened.analyses:
        console.print(Text(f"exact statistics: {', '.join(analysis.name for analysis in opened.analyses)}"))
    for name in opened.accepted:
        console.print(Text(f"accepted by {name}"))
    for name in unknown:
        console.print(Text(f"acceptance of {name} not checked: its key is not known (give --proposal)"))
    console.print(Text("audited" if signed.release.audited else "no empirical audit was made"))
