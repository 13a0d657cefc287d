"""From the manifest to the tables of its paid evaluation."""

from __future__ import annotations

import numpy as np

from federation.data.contract import Binary, Categorical, Continuous, Integer, Ordinal
from federation.data.encoding import encode_outcome, num_outputs
from federation.errors import ManifestError
from federation.models.noisy_metrics import CountLayout, table_lengths
from federation.study.manifest import StudyManifest


def count_layout(manifest: StudyManifest) -> CountLayout:
    """What a paid evaluation counts, from the manifest alone: the same at every site and at the aggregator.

    Raises:
        ManifestError: If the manifest's evaluation is not paid for.
    """
    noise = manifest.evaluation.noise
    if noise is None:
        raise ManifestError("expected a manifest with paid evaluation (evaluation.noise), got one without")
    task = manifest.task
    if task == "count" or task == "quantile" or task == "survival":  # noqa: PLR1714 - the types narrow
        raise ManifestError(
            f"expected a task whose evaluation can be paid for, got {task!r}", remedy="set evaluation.release to none"
        )
    return CountLayout(
        task=task,
        score_bins=manifest.evaluation.score_bins,
        classes=num_outputs(manifest.contract, manifest.objective) if manifest.task == "multiclass" else 2,
        subgroups=tuple((name, subgroup_levels(manifest, name)) for name in noise.subgroups),
        outcome_range=_scaled_range(manifest),
    )


def expected_counts(manifest: StudyManifest) -> dict[str, int]:
    """Names and lengths of exactly what a site releases in a paid evaluation, from the manifest alone.

    Raises:
        ManifestError: If the manifest's evaluation is not paid for.
    """
    return table_lengths(count_layout(manifest))


def subgroup_levels(manifest: StudyManifest, variable: str) -> tuple[str, ...]:
    """The levels of a subgroup variable; ``0`` and ``1`` of a binary one.

    Raises:
        ManifestError: If the contract has no such variable, or it has no levels.
    """
    found = manifest.contract.variable(variable)
    match found:
        case Binary():
            return ("0", "1")
        case Categorical() | Ordinal():
            return found.levels
        case _:
            raise ManifestError(f"expected a variable with levels, got {variable!r} of kind {found.kind!r}")


def _scaled_range(manifest: StudyManifest) -> tuple[float, float]:
    outcome = manifest.contract.outcome
    if manifest.task != "regression" or not isinstance(outcome, Continuous | Integer):
        return (-1.0, 1.0)
    low, high = encode_outcome(manifest.contract, "regression", np.array([outcome.minimum, outcome.maximum]))
    return (float(low), float(high))
