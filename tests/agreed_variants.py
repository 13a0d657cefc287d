"""An agreed association study of a few made-up variants, for tests that need no genotypes."""

from __future__ import annotations

from experiments.genotypes.planning import agree_variants
from experiments.genotypes.settings import read_gwas_settings
from experiments.genotypes.studies import CONTRACT as FILE
from experiments.studies.definition import read_contract
from federation.statistics.agreed_genotypes import AgreedVariants
from federation.statistics.genotypes.variants import VariantList, parse_bim

CONTRACT = read_contract(FILE)
LINEAR = ("method=linear", "phenotype=trait", "covariates=[age]", "components=2", "block=10", "component_variants=20")


def listed_variants(count: int = 40) -> VariantList:
    lines = (f"1\tvar{place}\t0\t{1000 * place + 1}\tA\tC\n" for place in range(count))
    return parse_bim("".join(lines).encode(), name="list.bim")


def agreed_variants(*words: str, name: str = "scan") -> tuple[AgreedVariants, VariantList]:
    """As typed, and its list."""
    settings, rest = read_gwas_settings(words or LINEAR)
    assert not rest
    return agree_variants(settings, CONTRACT, listed_variants(), name=name), listed_variants()
