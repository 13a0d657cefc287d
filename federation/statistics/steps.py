"""Every step that a site answers, told apart by its ``kind``. Nothing else is summed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from federation.statistics.alarms import AlarmStep
from federation.statistics.association import MantelHaenszelStep
from federation.statistics.counts import CountStep
from federation.statistics.cox_steps import CoxLikelihoodStep, CoxRiskStep, GramStep
from federation.statistics.descriptive_steps import HistogramStep, LevelCountStep, MomentStep
from federation.statistics.genotypes.block_steps import AlignmentStep, GenotypeCountStep
from federation.statistics.genotypes.component_steps import ComponentStep, LinkageStep, ScoreHistogramStep
from federation.statistics.genotypes.component_steps import ScoreStep as PolygenicScoreStep
from federation.statistics.genotypes.regression_steps import LinearScanStep, LogisticScanStep
from federation.statistics.genotypes.stratum_steps import StratumStep
from federation.statistics.glm_steps import CrossProductStep, ScoreStep
from federation.statistics.meta_analysis import SiteEstimateStep, SitePrecisionStep
from federation.statistics.occupancy_steps import OccupancyStep
from federation.statistics.prediction_steps import RecalibrationStep, RiskHistogramStep
from federation.statistics.principal_components import CovarianceStep
from federation.statistics.private_step import PrivateStep
from federation.statistics.stay_steps import StayErrorStep
from federation.statistics.survival_steps import LogRankStep, RiskTableStep

AnyStep = Annotated[
    CountStep
    | MomentStep
    | HistogramStep
    | LevelCountStep
    | CrossProductStep
    | ScoreStep
    | GramStep
    | CoxRiskStep
    | CoxLikelihoodStep
    | RiskTableStep
    | LogRankStep
    | MantelHaenszelStep
    | SiteEstimateStep
    | SitePrecisionStep
    | CovarianceStep
    | AlarmStep
    | RiskHistogramStep
    | RecalibrationStep
    | OccupancyStep
    | StayErrorStep
    | AlignmentStep
    | GenotypeCountStep
    | LinearScanStep
    | LogisticScanStep
    | StratumStep
    | ComponentStep
    | LinkageStep
    | PolygenicScoreStep
    | ScoreHistogramStep
    | PrivateStep,
    Field(discriminator="kind"),
]
