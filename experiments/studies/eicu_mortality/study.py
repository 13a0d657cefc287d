"""The study ``eicu_mortality``: hospital mortality of patients in intensive care, beside APACHE IVa. See README.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite, read_contract
from experiments.studies.eicu_mortality.stays import Sites, SiteStays, read_stays, write_site
from federation.data.cohort import CohortDefinition
from federation.data.contract import Continuous, ImputeMissing
from federation.documents import Document
from federation.errors import ConfigurationError
from site_client.sources.mapping import read_mapping
from site_client.sources.tables import TableSource

_HERE: Final = Path(__file__).parent
LICENCE: Final = "ODbL 1.0: Johnson, Pollard, Badawi, Raffa 2021, doi:10.13026/4mxk-na84"
APACHE_MORTALITY: Final = Continuous(
    name="apache_mortality",
    kind="continuous",
    unit="dimensionless",
    minimum=0,
    maximum=1,
    missing=ImputeMissing(value=0),
    description="Hospital mortality as APACHE IVa predicted it",
)


class EicuOptions(Document):
    """Options that all studies of the eICU demo share."""

    sites: Sites = "region"
    """Every region is a site, or as few hospitals of a region together as have enough patients."""
    minimum_patients: Annotated[int, Field(ge=2)] = 30
    """The demo has at most ten patients of a hospital: too few to train on some and test on others."""


def define() -> StudyDefinition:
    """The study's public definition."""
    return StudyDefinition(
        name="eicu_mortality",
        title="Hospital mortality of patients in intensive care",
        question="Who will die in hospital, judged by the first 24 hours in intensive care, compared with APACHE IVa?",
        provenance="public",
        data_licence=LICENCE,
        task="binary",
        contract=read_contract(_HERE / "contract.yaml"),
        cohort=CohortDefinition(provenance="public", max_records_per_patient=1),
        beside=(APACHE_MORTALITY,),
        rivals={APACHE_MORTALITY.name: "APACHE IVa"},
    )


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Deal the stays out to regions or hospitals, and wire each to the mapping.

    Args:
        options: See :class:`EicuOptions`.
        seed: Not needed: nothing is drawn.
        folder: Where the sites' files are written.
        data: The folder ``COHORTIUM_DATA``.

    Raises:
        ConfigurationError: For an unknown or impossible option.
        RecordsUnreadableError: If a table is not there or is not the published one.
    """
    del seed
    chosen = EicuOptions.from_data(dict(options), error=ConfigurationError)
    stays = read_stays(data, study="eicu_mortality", sites=chosen.sites, minimum_patients=chosen.minimum_patients)
    return PreparedStudy(definition=define(), sites=wire(stays, folder=folder))


def wire(stays: tuple[SiteStays, ...], *, folder: Path) -> tuple[StudySite, ...]:
    """Write every site's file, and read it through the mapping that all share.

    Args:
        stays: Of every site.
        folder: Where the files are written.
    """
    mapping = read_mapping(_HERE / "mapping.yaml")
    return tuple(
        StudySite(
            site=site.site,
            source=TableSource(mapping.model_copy(update={"site": site.site}), folder=write_site(site, folder=folder)),
            public_patients=site.patients,
            group=site.region,
        )
        for site in stays
    )
