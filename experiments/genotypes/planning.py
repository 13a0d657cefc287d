"""From the settings of an association study to what the centre runs, and to the sites that answer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aggregator.statistics.analysing import Analysis, Analyst
from experiments.analyse_regression import regression_model
from experiments.analyse_settings import AnalysisSettings
from experiments.analyse_sites import open_analyst
from experiments.genotypes.settings import GwasSettings
from experiments.genotypes.studies import GenotypeStudy
from experiments.genotypes.weights import read_weights
from federation.data.contract import Binary, DataContract
from federation.errors import ConfigurationError
from federation.statistics.agreed_genotypes import AgreedVariants, check_trait
from federation.statistics.genotypes.clumping import ClumpingRules
from federation.statistics.genotypes.quality import QualityRules
from federation.statistics.genotypes.scan import NEEDS_CASES
from federation.statistics.genotypes.scan_model import ScanModel
from federation.statistics.genotypes.scoring import score_evaluation
from federation.statistics.genotypes.variants import VariantList
from federation.statistics.requests import Selection
from federation.statistics.result import Findings
from federation.statistics.step import Solver
from site_client.genotypes.aligned import SiteGenotypes, listed_digest

_NAME: Final = "gwas"


def gwas_analyst(study: GenotypeStudy, settings: GwasSettings, *, memory: Path, work: Path) -> Analyst:
    """Sites with genotypes aligned to the study's list, and the centre.

    Args:
        study: Records and files.
        settings: Of the analysis.
        memory: What was answered before.
        work: Keys and phases of secure sums.

    Raises:
        PatientKeyError: If somebody in a site's files has no record.
        ConfigurationError: If there are too few sites for secure sums.
    """
    analyst, sites = open_analyst(
        study.study,
        threshold=settings.threshold,
        is_masked=settings.aggregation == "masked",
        memory=memory,
        work=work,
    )
    for files in study.files:
        site = sites[files.site]
        site.genotypes = SiteGenotypes.aligned(
            files,
            study.listed,
            patients=site.records.patient_keys.tolist(),
            palindromic=settings.palindromic,
        )
    return analyst


def gwas_plan(settings: GwasSettings, study: GenotypeStudy) -> Analysis:
    """What the centre runs.

    Args:
        settings: As typed.
        study: Supplies contract, list and sites.

    Raises:
        ConfigurationError: If the settings do not fit the contract.
        ManifestError: If a variable is not in it.
        InvalidInputError: If the file of weights cannot be used.
    """
    contract = study.study.contract
    sites = tuple(records.site for records in study.study.records)
    if settings.method == "score":
        return _score_plan(settings, study)
    agreed = agree_variants(settings, contract, study.listed, name=_NAME)
    return Analysis(
        name=_NAME,
        selection=agreed.selection,
        solver=lambda patients: agreed.association(
            study.listed, sites, patients=patients, threshold=settings.threshold
        ),
    )


def agree_variants(settings: GwasSettings, contract: DataContract, listed: VariantList, *, name: str) -> AgreedVariants:
    """An association study as data.

    Args:
        settings: As typed; not of a polygenic score.
        contract: Of the study.
        listed: Its list of variants.
        name: Of the analysis in its study.

    Raises:
        ConfigurationError: If the settings do not fit the contract.
        ManifestError: If a variable is not in it.
    """
    if settings.method == "score":
        raise ConfigurationError(
            "expected an association study, got method=score, which evaluates one",
            remedy="use method=allelic, cmh, linear or logistic",
        )
    model = _model(settings, contract)
    clumping = None
    if settings.score_below is not None:
        clumping = ClumpingRules(
            below=settings.score_below, window=settings.score_window, linkage=settings.score_linkage
        )
    found = AgreedVariants(
        name=name,
        selection=_selection(settings, model),
        method=settings.method,
        listed=listed.digest,
        num_variants=len(listed),
        palindromic=settings.palindromic,
        model=model,
        rules=QualityRules(
            missing=settings.missing, maf=settings.maf, hwe=settings.hwe, hwe_within=settings.hwe_within
        ),
        components=settings.components,
        component_variants=settings.component_variants,
        block=settings.block,
        confidence=settings.confidence,
        fills=settings.missing_genotypes == "mean",
        clumping=clumping,
    )
    found.check_against(contract)
    return found


def _selection(settings: GwasSettings, model: ScanModel) -> Selection:
    complete = tuple(sorted(model.variables() | set(settings.complete)))
    return Selection(where=settings.where, complete=complete)


def _model(settings: GwasSettings, contract: DataContract) -> ScanModel:
    phenotype = settings.phenotype or contract.outcome.name
    if settings.method != "score":
        check_trait(contract.variable(phenotype), settings.method)
    terms = " + ".join(f"`{name}`" for name in settings.covariates) or "1"
    family = "logistic" if settings.method in NEEDS_CASES else "linear"
    formula = AnalysisSettings(analysis="glm", formula=f"`{phenotype}` ~ {terms}", family=family)
    found = regression_model(formula, contract)
    return ScanModel(
        outcome=found.outcome,
        outcome_centre=found.outcome_centre,
        outcome_scale=found.outcome_scale,
        design=found.design,
    )


def _score_plan(settings: GwasSettings, study: GenotypeStudy) -> Analysis:
    if settings.components:
        raise ConfigurationError("method=score takes covariates but no components", remedy="leave components= out")
    model, variants = _model(settings, study.study.contract), listed_digest(study.listed, settings.palindromic)
    score = read_weights(Path(settings.weights or ""), study.listed, variants=variants)
    sites = tuple(records.site for records in study.study.records)
    is_binary = isinstance(study.study.contract.variable(model.outcome), Binary)

    def solver(patients: int) -> Solver[Findings]:
        return score_evaluation(
            score, model=model, sites=sites, is_binary=is_binary, patients=patients, threshold=settings.threshold
        )

    return Analysis(name="polygenic_score", selection=_selection(settings, model), solver=solver)
