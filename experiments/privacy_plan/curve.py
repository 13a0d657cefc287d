"""The epsilon-utility curve of a rehearsal: the study run on generated patients, once per epsilon and without privacy.

The curve shows how noise grows as epsilon shrinks, at this study's number of sites, patients, steps and parameters. It does
not foretell the performance on real patients, of whom the data contract knows nothing but ranges and levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from aggregator.report.content import SeedSpread
from aggregator.report.vocabulary import PRIMARY_METRIC, metric_of
from experiments.bootstrap import interval_over_seeds
from experiments.privacy_plan.rehearsal import rehearsal_site, rehearsal_streams
from experiments.privacy_plan.rehearsal_run import held_out_metric, rehearsed
from federation.documents import Document
from federation.errors import ConfigurationError, PrivacyRefusedError
from federation.identifiers import StudyId
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult
from site_client.patients import SiteData

CONFIDENCE_LEVEL: Final = 0.95
NOTICE: Final = (
    "A rehearsal on generated patients: drawn from the data contract's ranges and levels, with an outcome that follows a "
    "made-up linear rule. It shows how noise grows as epsilon shrinks, not the performance on real patients."
)
OnStage = Callable[[int, str, RoundResult | None], None]
"""Called with the seed, what is being trained, and the round just finished."""


class CurvePoint(Document):
    """The held-out metric at one epsilon, or without privacy."""

    epsilon: Annotated[float, Field(gt=0)] | None
    """``None``: without privacy."""
    noise_multiplier: float | None
    """Recalibrated to this epsilon, the evaluations paid for first; ``None`` without privacy or if there is none."""
    metric: SeedSpread | None
    """Over the seeds; ``None`` if the study could not be run."""
    difference: SeedSpread | None
    """From the same seed without privacy; ``None`` for that itself."""
    note: str = ""
    """Why there is no figure."""


class UtilityCurve(Document):
    """An epsilon-utility curve."""

    format: Literal["cohortium/utility-curve/1"] = "cohortium/utility-curve/1"
    study: StudyId
    manifest: str
    """Digest of the manifest that was rehearsed."""
    notice: str = NOTICE
    metric: str
    title: str
    higher_is_better: bool | None
    seeds: tuple[int, ...]
    confidence_level: float = CONFIDENCE_LEVEL
    training_patients: dict[str, int]
    """Generated, by site: as many as declared."""
    test_patients: dict[str, int]
    """Generated, by site, with the first seed."""
    points: tuple[CurvePoint, ...]
    """Without privacy first, then from the largest epsilon to the smallest."""


def utility_curve(
    manifest: StudyManifest, *, epsilons: Sequence[float], seeds: Sequence[int], on_stage: OnStage | None = None
) -> UtilityCurve:
    """Rehearse the study at each epsilon and without privacy.

    Every seed draws other patients, another truth, another sampling and other noise; within a seed all epsilons meet the
    same patients.

    Args:
        manifest: A private study.
        epsilons: Distinct, each above 0 and at most 1000.
        seeds: Public and distinct, at least one; two or more give intervals.
        on_stage: Progress.

    Raises:
        ConfigurationError: If the study is not private, or epsilons or seeds are impossible.
        ManifestError: If hardly any generated patient meets the cohort definition.
        StudyError: If the rehearsal cannot go on.
    """
    check_rehearsal(manifest, epsilons=epsilons, seeds=seeds)
    plain = rehearsed(manifest, epsilon=None)
    variants = [_Variant(None, plain), *(_variant(manifest, epsilon) for epsilon in sorted(epsilons, reverse=True))]
    runs: list[list[float | str]] = []
    sizes: list[tuple[SiteData, ...]] = []
    for seed in seeds:
        streams = rehearsal_streams(seed)
        sites = tuple(rehearsal_site(plain, entry.site, streams=streams).data for entry in plain.roster)
        sizes.append(sites)
        runs.append([variant.run(sites, seed=seed, on_stage=on_stage) for variant in variants])
    name = PRIMARY_METRIC[manifest.task]
    return UtilityCurve(
        study=manifest.study,
        manifest=manifest.digest,
        metric=name,
        title=metric_of(name).title,
        higher_is_better=metric_of(name).higher_is_better,
        seeds=tuple(seeds),
        training_patients={site.site: site.training.num_patients for site in sizes[0]},
        test_patients={site.site: site.test.num_patients for site in sizes[0]},
        points=tuple(
            _point(variant, [run[place] for run in runs], without=[run[0] for run in runs])
            for place, variant in enumerate(variants)
        ),
    )


@dataclass(frozen=True)
class _Variant:
    """The study at one epsilon, or why no noise keeps it."""

    epsilon: float | None
    manifest: StudyManifest | None
    note: str = ""

    @property
    def label(self) -> str:
        return "without privacy" if self.epsilon is None else f"epsilon {self.epsilon:g}"

    def run(self, sites: tuple[SiteData, ...], *, seed: int, on_stage: OnStage | None) -> float | str:
        """The held-out metric of one seed, or why there is none."""
        if self.manifest is None:
            return self.note
        return held_out_metric(
            self.manifest,
            sites,
            seed=seed,
            on_round=lambda done: on_stage(seed, self.label, done) if on_stage else None,
        )


def check_rehearsal(manifest: StudyManifest, *, epsilons: Sequence[float], seeds: Sequence[int]) -> None:
    """Refuse what :func:`utility_curve` would refuse, before anything is shown or run.

    Raises:
        ConfigurationError: If the study is not private, or epsilons or seeds are impossible.
    """
    if not isinstance(manifest.privacy, PatientLevelPrivacy):
        raise ConfigurationError(
            f"expected patient-level privacy for an epsilon-utility curve, got privacy {manifest.privacy.kind!r}",
            remedy="give the manifest a privacy of kind patient_level, with clipping norm and sampling probability",
        )
    if not epsilons or len(set(epsilons)) != len(epsilons) or not all(0 < epsilon <= 1000 for epsilon in epsilons):  # noqa: PLR2004 - the manifest's own bound
        raise ConfigurationError(
            f"expected distinct epsilons above 0 and at most 1000, got {list(epsilons)}",
            remedy="such as --epsilons 0.5,1,2,4,8",
        )
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigurationError(f"expected distinct seeds, at least one, got {list(seeds)}", remedy="such as 0,1,2")


def _variant(manifest: StudyManifest, epsilon: float) -> _Variant:
    try:
        return _Variant(epsilon, rehearsed(manifest, epsilon=epsilon))
    except PrivacyRefusedError as refusal:
        return _Variant(epsilon, None, f"no noise keeps this epsilon: {refusal.message}")


def _point(variant: _Variant, found: Sequence[float | str], *, without: Sequence[float | str]) -> CurvePoint:
    """Mean and interval over the seeds; a study that fails with one seed has no figure."""
    privacy = variant.manifest.privacy if variant.manifest else None
    noise = privacy.noise_multiplier if isinstance(privacy, PatientLevelPrivacy) else None
    notes = [value for value in found if isinstance(value, str)]
    differences = [
        value - reference
        for value, reference in zip(found, without, strict=True)
        if not isinstance(value, str) and not isinstance(reference, str)
    ]
    return CurvePoint(
        epsilon=variant.epsilon,
        noise_multiplier=noise,
        metric=None if notes else _spread([value for value in found if not isinstance(value, str)]),
        difference=None if variant.epsilon is None or len(differences) < len(found) else _spread(differences),
        note=notes[0] if notes else "",
    )


def _spread(values: Sequence[float]) -> SeedSpread:
    bounds = interval_over_seeds(values, confidence_level=CONFIDENCE_LEVEL)
    return SeedSpread(
        values=tuple(values),
        mean=math.fsum(values) / len(values),
        lower=None if bounds is None else bounds[0],
        upper=None if bounds is None else bounds[1],
    )
