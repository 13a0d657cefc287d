"""From words typed for ``cohortium study add-analysis`` to an analysis as data: each kind of analysis reads its own settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from federation.data.contract import DataContract
from federation.errors import ConfigurationError, InvalidInputError
from federation.statistics.agreed_models import AgreedAnalysis

_KIND: Final = "analysis="
_LIST: Final = "variants="
_NOT_AGREED: Final = ("aggregation=", "weights=")


def agreed_analysis(
    words: Sequence[str], contract: DataContract, *, name: str, shares: int = 1
) -> tuple[AgreedAnalysis, int]:
    """Read an analysis.

    Args:
        words: ``KEY=VALUE`` each.
        contract: Of the study.
        name: Of the analysis in the study.
        shares: Sites that share the noise, in an analysis with privacy.

    Returns:
        The analysis, and the smallest number of patients that it asks to be shown.

    Raises:
        ConfigurationError: If a word cannot be read or does not fit the contract.
        InvalidInputError: If words are about more than one analysis, or a file cannot be read.
        ManifestError: If a variable is not in the contract.
    """
    kinds = [word.removeprefix(_KIND) for word in words if word.startswith(_KIND)]
    if kinds == ["gwas"]:
        return _variants([word for word in words if not word.startswith(_KIND)], contract, name=name)
    from experiments.operations.agreeing import REPORTS, agree_report

    if len(kinds) == 1 and kinds[0] in REPORTS:
        found, threshold = agree_report(
            kinds[0], [word for word in words if not word.startswith(_KIND)], contract, name=name
        )
        return cast("AgreedAnalysis", found), threshold
    from experiments.analyse_plans import agree
    from experiments.analyse_settings import read_settings

    settings, rest = read_settings(words)
    _expect_nothing_else(rest)
    return agree(settings, contract, name=name, shares=shares), settings.threshold


def _variants(words: Sequence[str], contract: DataContract, *, name: str) -> tuple[AgreedAnalysis, int]:
    from aggregator.statistics.variant_lists import read_variants
    from experiments.genotypes.planning import agree_variants
    from experiments.genotypes.settings import read_gwas_settings

    lists = [word.removeprefix(_LIST) for word in words if word.startswith(_LIST)]
    settings, rest = read_gwas_settings([word for word in words if not word.startswith(_LIST)])
    _expect_nothing_else([*rest, *(word for word in words if word.startswith(_NOT_AGREED))])
    if len(lists) != 1:
        raise ConfigurationError(
            f"analysis=gwas needs one variants=LIST.bim, got {len(lists)}",
            remedy="name the list of variants that sites align their genotypes to: PLINK's .bim file",
        )
    listed = read_variants(Path(lists[0]))
    return agree_variants(settings, contract, listed, name=name), settings.threshold


def _expect_nothing_else(rest: Sequence[str]) -> None:
    if rest:
        raise InvalidInputError(
            f"expected settings of one analysis, got {list(rest)}",
            remedy="the study, and how its sums are taken, are the manifest's; see docs/statistics.md",
        )
