"""``cohortium study add-analysis``: an exact statistic, typed as a formula, becomes data in a study's manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federation.errors import InvalidInputError, ManifestError

if TYPE_CHECKING:
    from federation.study.manifest import StudyManifest


def register(study_app: typer.Typer) -> None:
    """Mount the command on ``cohortium study``."""
    study_app.command("add-analysis")(add_analysis)


def add_analysis(
    file: Annotated[Path, typer.Argument(metavar="MANIFEST", help="The manifest: YAML or JSON, not sealed.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the analysis in the study, such as age_by_ward.")],
    words: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="As of `cohortium analyse` or `gwas`.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the manifest with the analysis.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print machine-readable JSON and nothing else.")] = False,
) -> None:
    """Add a statistic to a manifest, exact or with privacy.epsilon=... Formulas become columns; sites are sent no formula.

    cohortium study add-analysis study.yaml deaths analysis=glm formula='died ~ age + ward' -o with.yaml

    The new file has no comments. Sites see the analysis in their review, and their policy must allow it.
    """
    import yaml

    from aggregator.manifest_file import read_manifest_file
    from experiments.agree_analyses import agreed_analysis
    from federation.durable_files import write_durably
    from federation.study.manifest import StudyManifest

    read = read_manifest_file(file)
    if read.sealed:
        raise InvalidInputError(
            f"expected a manifest that is not sealed, got the sealed {file}",
            remedy="change its source, and seal it again",
        )
    if output.exists() and output.resolve() != file.resolve():
        raise InvalidInputError(f"expected {output} to be new, it exists", remedy="choose another --output")
    manifest = read.manifest
    analysis, threshold = agreed_analysis(words, manifest.contract, name=name, shares=_shares(manifest))
    data = manifest.as_data()
    known = data.get("statistics")
    spec = known if isinstance(known, dict) else {"analyses": [], "threshold": threshold}
    listed = spec["analyses"]
    if not isinstance(listed, list):
        raise ManifestError("expected a list of analyses in the manifest, got something else")
    data["statistics"] = {**spec, "analyses": [*listed, analysis.as_data()]}
    checked = StudyManifest.from_data(data)
    write_durably(output, yaml.safe_dump(checked.as_data(), sort_keys=False, allow_unicode=True, width=120).encode())
    names = [each.name for each in checked.statistics.analyses] if checked.statistics else []
    promise = analysis.privacy
    if as_json:
        typer.echo(json.dumps({"file": str(output), "analyses": names, "digest": checked.digest}, indent=1))
        return
    kind = "exact" if promise is None else f"{promise.guarantee()} over {promise.releases} noisy sums"
    typer.echo(f"written  {output}: statistics {', '.join(names)}; {name}: {kind}")


def _shares(manifest: StudyManifest) -> int:
    """Sites that share the noise: one less than a sum is opened of, because a site knows its own."""
    masked, sites = manifest.aggregation.masked, len(manifest.roster)
    return 1 if masked is None else max(masked.threshold_of(sites), manifest.aggregation.quorum) - 1
