"""Simulated hospitals that answer the steps of analyses: real sites' code, called in process."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

from aggregator.statistics.analysing import Analyst
from aggregator.statistics.earlier_counts import EarlierCounts
from aggregator.statistics.links import SiteLink, Sums
from aggregator.statistics.masked_sums import MaskedSums
from aggregator.statistics.open_sums import OpenSums
from experiments.analyse_records import AnalysedStudy
from experiments.identities import make_identities, public_keys
from federation.errors import ConfigurationError
from federation.privacy.randomness import fresh_streams
from federation.protocol.secure_sum.terms import FEWEST_SITES, SecureSumTerms, recommended_threshold
from federation.statistics.requests import StatisticsTerms
from site_client.ledger.key_file import find_or_make_key
from site_client.secure_participant import SecureParticipant
from site_client.statistics.earlier_selections import EarlierSelections
from site_client.statistics.site import StatisticsSite


def load_analysed_study(overrides: Sequence[str], *, folder: Path, data: Path | None) -> AnalysedStudy:
    """Read the records of a named study.

    Args:
        overrides: ``study=...`` and whatever changes it.
        folder: Where generated or divided hospitals are written.
        data: ``COHORTIUM_DATA``.

    Raises:
        ConfigurationError: If a setting is wrong or the study brings records that are encoded already.
        RecordsError: If a site's records cannot be used.
    """
    from experiments.analyse_studies import analysis_study, is_analysis_study

    if is_analysis_study(overrides):
        return analysis_study(overrides, data=data)
    from conf.loading import load
    from experiments.settings import SimulationSettings
    from experiments.studies.catalogue import load_study

    settings = load(SimulationSettings, overrides)
    options = dict(settings.study.options)
    seed = options.pop("partition_seed", 0)
    if not isinstance(seed, int):
        raise ConfigurationError(f"expected study.options.partition_seed to be an integer, got {seed!r}")
    study = load_study(settings.study.name, options=options, seed=seed, folder=folder / "hospitals", data=data)
    changes = {
        name: value for name in ("inclusion", "exclusion") if (value := getattr(settings.cohort, name)) is not None
    }
    today = dt.datetime.now(dt.UTC).date()
    contract = study.definition.contract
    return AnalysedStudy(
        name=settings.study.name,
        contract=contract,
        cohort=study.definition.cohort.model_copy(update=changes),
        records=tuple(site.source.read(contract, today=today) for site in study.sites),
    )


def open_analyst(
    study: AnalysedStudy, *, threshold: int, is_masked: bool, memory: Path, work: Path
) -> tuple[Analyst, Mapping[str, StatisticsSite]]:
    """Sites and the centre of a study's analyses.

    Args:
        study: Its records.
        threshold: Smallest number of patients that may show.
        is_masked: Whether sums are secure.
        memory: What sites and centre remember of earlier answers; kept from one analysis to the next.
        work: Keys and phases of secure sums; new for every run.

    Raises:
        ConfigurationError: If there are too few sites for secure sums.
    """
    terms = study.terms(threshold=threshold)
    place = memory / terms.model_copy(update={"threshold": 1}).digest.removeprefix("sha256:")[:16]
    earlier = EarlierCounts(path=place / "totals.json", threshold=threshold)
    secure = secure_terms(terms, work) if is_masked else None
    sites = {
        records.site: StatisticsSite(
            records=records,
            terms=terms,
            earlier=EarlierSelections(folder=place / "sites" / records.site, threshold=threshold),
            participant=None if secure is None else make_participant(secure, records.site, work),
        )
        for records in study.records
    }
    links: dict[str, SiteLink] = dict(sites)
    sums: Sums = OpenSums(links) if secure is None else MaskedSums(links, secure)
    return Analyst(terms=terms, sums=sums, earlier=earlier), sites


def noise_shares(study: AnalysedStudy, *, is_masked: bool) -> int:
    """Sites whose noise together is as much as promised: one less than a sum is opened of, because a site knows its own.

    Args:
        study: Its sites.
        is_masked: Whether sums are secure. In open sums every site's numbers are seen, so each has all of the noise.
    """
    return max(1, recommended_threshold(len(study.records)) - 1) if is_masked else 1


def secure_terms(terms: StatisticsTerms, work: Path) -> SecureSumTerms:
    """Terms of secure sums over a study's sites, with identities made for them.

    Args:
        terms: Of the study's analyses.
        work: Where identities are kept.

    Raises:
        ConfigurationError: If there are too few sites for secure sums.
    """
    if len(terms.sites) < FEWEST_SITES:
        raise ConfigurationError(
            f"expected at least {FEWEST_SITES} sites for secure sums, got {len(terms.sites)}: a sum of two is a difference away "
            "from each of them",
            remedy="use more sites, or aggregation=open for public or generated records",
        )
    identities = make_identities(terms.sites, work / "identities", seed=None, provenance=terms.cohort.provenance)
    return SecureSumTerms.agreed(study=terms.digest, public_keys=public_keys(identities))


def make_participant(secure: SecureSumTerms, site: str, work: Path) -> SecureParticipant:
    """One site in secure sums.

    Args:
        secure: From :func:`secure_terms`, with the same folder.
        site: Its name.
        work: Where its memory is.
    """
    folder = work / "secure" / site
    folder.mkdir(parents=True, exist_ok=True)
    return SecureParticipant(
        folder=folder,
        terms=secure,
        site=site,
        key=find_or_make_key(work / "identities" / site / "identity"),
        streams=fresh_streams(),
    )
