"""The study ``tcga_brca``: survival with breast cancer, six regions. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite, find_data, read_contract
from experiments.studies.synthetic.files import write_hospital
from experiments.studies.tcga_brca.regions import PUBLISHED_PATIENTS, Region, read_regions
from federation.data.cohort import CohortDefinition
from federation.data.contract import Continuous, DataContract, Reference
from federation.documents import Document, Json
from federation.errors import ConfigurationError
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms
from site_client.extraction import encode
from site_client.patients import SiteData
from site_client.sources.tables import TableSource

_HERE: Final = Path(__file__).parent
_YEAR: Final = 365.0

PUBLISHED_FIGURES: Final = {
    "fedadagrad.pooled_test.concordance": (0.8338, 0.0738),
    "fedavg.pooled_test.concordance": (0.7353, 0.1750),
}
"""FLamby's mean over seeds 42-46, and the tolerance for ours: down to .76, and FedAvg's published standard deviation."""


class TcgaBrcaOptions(Document):
    """Options of the study."""

    recipe: Literal["default", "flamby"] = "default"
    """``flamby``: division and unscaled features exactly as FLamby published them."""
    method: Literal["cox", "discrete_time"] = "discrete_time"
    hazard: Literal["cloglog", "logistic"] = "cloglog"
    """Of discrete time."""
    effects: Literal["proportional", "by_interval"] = "proportional"
    """Of discrete time."""
    years: Annotated[tuple[Annotated[float, Field(gt=0, le=27)], ...], Field(min_length=1)] = (1, 2, 3, 4, 5, 7, 10)
    """Ends of the intervals, and the times at which survival is looked at."""


def define(options: TcgaBrcaOptions) -> StudyDefinition:
    """The study's public definition.

    Raises:
        ManifestError: If the years do not increase.
    """
    published = options.recipe == "flamby"
    contract = read_contract(_HERE / "contract.yaml")
    return StudyDefinition(
        name="tcga_brca",
        title="Survival with breast cancer, six regions" + (" (as published by FLamby)" if published else ""),
        question="Can six regions learn together who survives breast cancer for how long, judged by what is known at diagnosis?",
        provenance="public",
        data_licence="TCGA-BRCA clinical data, open-access tier of the GDC; never try to re-identify anybody",
        task="survival",
        task_terms=_terms(options),
        contract=_unscaled(contract) if published else contract,
        cohort=CohortDefinition(provenance="public", test_fraction=0.2),
        expected=PUBLISHED_FIGURES if published and options.method == "cox" else {},
    )


def _terms(options: TcgaBrcaOptions) -> DiscreteTimeTerms | CoxTerms:
    edges: list[Json] = [_YEAR * year for year in options.years]
    if options.method == "cox":
        return CoxTerms.from_data({"edges": edges})
    return DiscreteTimeTerms.from_data({"edges": edges, "hazard": options.hazard, "effects": options.effects})


def _unscaled(contract: DataContract) -> DataContract:
    """Age in years, as FLamby has it: the reference that changes nothing."""
    as_it_is = Reference(mean=0.0, standard_deviation=1.0, source="FLamby does not scale")
    variables = tuple(
        variable.model_copy(update={"reference": as_it_is}) if isinstance(variable, Continuous) else variable
        for variable in contract.variables
    )
    return contract.model_copy(update={"variables": variables})


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Divide the published table into regions, and write every region's file.

    Args:
        options: See :class:`TcgaBrcaOptions`.
        seed: Not needed: nothing is drawn.
        folder: Where ``<region>/patients.csv`` and its mapping are written.
        data: The folder ``COHORTIUM_DATA``.

    Raises:
        ConfigurationError: For an unknown option.
        ManifestError: If the years do not increase.
        RecordsUnreadableError: If a published file is not there, or is another.
    """
    del seed
    chosen = TcgaBrcaOptions.from_data(dict(options), error=ConfigurationError)
    definition = define(chosen)
    contract = definition.contract
    table, split = find_data(
        data, study="tcga_brca", files=("fed_tcga_brca/brca.csv", "fed_tcga_brca/train_test_split.csv")
    )
    regions = read_regions(table, split, contract=contract)
    sites = tuple(
        StudySite(
            site=region.records.site,
            source=TableSource(
                write_hospital(region.records, contract=contract, folder=folder / region.records.site),
                folder=folder / region.records.site,
            ),
            public_patients=sum(PUBLISHED_PATIENTS[region.records.site]),
        )
        for region in regions
    )
    ready = tuple(_divided(region, definition) for region in regions) if chosen.recipe == "flamby" else ()
    return PreparedStudy(definition=definition, sites=sites, ready=ready)


def _divided(region: Region, definition: StudyDefinition) -> SiteData:
    training, test = (
        encode(
            region.records.rows(rows), contract=definition.contract, definition=definition.cohort, task=definition.task
        )
        for rows in (region.training, ~region.training)
    )
    return SiteData(site=region.records.site, training=training, test=test)
