"""The settings of ``cohortium gwas``: what is asked of whom, in the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from federation.data.cohort import Criterion
from federation.documents import Document, Json
from federation.errors import ConfigurationError
from federation.identifiers import VariableName
from federation.statistics.disclosure import DEFAULT_THRESHOLD
from federation.statistics.genotypes.alignment import PalindromicRule

MethodName = Literal["allelic", "cmh", "linear", "logistic", "score"]
REGRESSIONS = frozenset({"linear", "logistic"})


class GwasSettings(Document):
    """One association study, or the evaluation of a polygenic score. See docs/genotypes.md."""

    method: MethodName
    """``allelic``: alleles by outcome; ``cmh``: the same within sites; ``linear``, ``logistic``: with covariates; ``score``:
    evaluate ``weights``."""
    phenotype: VariableName | None = None
    """``None``: the contract's outcome."""
    covariates: tuple[VariableName, ...] = ()
    components: Annotated[int, Field(ge=0, le=20)] = 0
    """Principal components beside the covariates."""
    component_variants: Annotated[int, Field(ge=10, le=50_000)] = 2000
    """Most variants from which components are computed."""
    maf: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    missing: Annotated[float, Field(ge=0, le=1)] = 0.05
    hwe: Annotated[float, Field(ge=0, lt=1)] = 0.0
    hwe_within: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    palindromic: PalindromicRule = "exclude"
    missing_genotypes: Literal["drop", "mean"] = "drop"
    """In regressions: ``drop`` leaves a patient out for that variant, as PLINK does; ``mean`` counts twice the allele's frequency,
    and the aggregator's sums of covariates and outcome are the same for every variant."""
    block: Annotated[int, Field(ge=1, le=2**17)] = 4096
    """Most variants of one sum."""
    score_below: Annotated[float, Field(gt=0, le=1)] | None = None
    """Write the weights of a polygenic score from variants with a p-value of at most this."""
    score_window: Annotated[float, Field(ge=0)] = 250.0
    score_linkage: Annotated[float, Field(ge=0, le=1)] = 0.2
    weights: str | None = None
    """File of weights for ``method=score``."""
    where: tuple[Criterion, ...] = ()
    complete: tuple[VariableName, ...] = ()
    """Variables that must be known beside those of the study."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    threshold: Annotated[int, Field(ge=1)] = DEFAULT_THRESHOLD
    """Smallest number of patients, and of carriers of an allele, that may show."""
    aggregation: Literal["masked", "open"] = "masked"
    """``masked``: secure sums; ``open``: what each site sends is visible, for public and generated records only."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.method in {"allelic", "cmh"} and (self.covariates or self.components):
            raise ValueError(f"method={self.method} has no covariates or components; use method=logistic")
        if (self.method == "score") != (self.weights is not None):
            raise ValueError("method=score needs weights=FILE, and no other method has weights")
        return self


def read_gwas_settings(overrides: Sequence[str]) -> tuple[GwasSettings, list[str]]:
    """Divide what was typed into the settings and the study's.

    Args:
        overrides: ``KEY=VALUE`` each.

    Raises:
        ConfigurationError: With one line per mistake.
    """
    from conf.suggestions import did_you_mean
    from conf.validation import build
    from experiments.analyse_settings import read_criteria

    tree: dict[str, Json] = {}
    rest: list[str] = []
    known = {*GwasSettings.model_fields, "study"}
    mistakes: list[str] = []
    for line in overrides:
        key, equals, text = line.partition("=")
        if not equals:
            mistakes.append(f"cannot read {line!r}: expected KEY=VALUE")
        elif key.split(".")[0] == "study":
            rest.append(line)
        elif key not in known:
            mistakes.append(f"unknown setting {key!r}{did_you_mean(key, known, listed=40)}")
        elif key == "where":
            tree[key] = read_criteria(text)
        else:
            tree[key] = text if key == "weights" else _value(key, text)
    if "method" not in tree and not mistakes:
        mistakes.append("missing setting 'method': expected allelic, cmh, linear, logistic or score")
    if mistakes:
        raise ConfigurationError("\n".join(mistakes))
    return build(GwasSettings, tree), rest


def _value(key: str, text: str) -> Json:
    try:
        value: Json = yaml.safe_load(text)
    except yaml.YAMLError as failure:
        raise ConfigurationError(f"{key}: cannot read {text!r}") from failure
    # YAML takes 1e-6 for a word.
    field = GwasSettings.model_fields[key]
    if isinstance(value, str) and "float" in str(field.annotation):
        try:
            return float(value)
        except ValueError:
            return value
    return value
