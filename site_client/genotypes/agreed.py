"""The genotypes of a launched study: the site's files, brought to the list of variants that the manifest names by its digest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from federation.errors import InvalidInputError, RecordsUnreadableError
from federation.statistics.agreed_genotypes import AgreedVariants, check_list, one_list
from federation.statistics.genotypes.variants import VariantList, parse_bim
from federation.study.statistics_spec import StatisticsSpec
from site_client.genotypes.aligned import SiteGenotypes
from site_client.genotypes.plink import LARGEST_TEXT, PlinkFiles
from site_client.records_file import RecordsAt


def study_genotypes(
    spec: StatisticsSpec, at: RecordsAt | None, *, site: str, patients: Sequence[str]
) -> SiteGenotypes | None:
    """The genotypes that a study's association studies read; ``None`` if it has none.

    Args:
        spec: What the study agreed on.
        at: Where the site's files are.
        site: Its name.
        patients: Keys of all of its records.

    Raises:
        RecordsUnreadableError: If files are absent or damaged, or the list is not the one that was agreed on.
        PatientKeyError: If somebody in the files has no record.
    """
    agreed = one_list(spec.analyses)
    if agreed is None:
        return None
    if at is None or at.genotypes is None or at.variants is None:
        raise RecordsUnreadableError(
            "expected genotypes for an association study, got none",
            site=site,
            remedy="name them in the mapping (`genotypes:`), and run `cohortium site prepare` again",
        )
    listed = _agreed_list(at.variants, agreed, site=site)
    files = PlinkFiles.open(at.genotypes, site=site)
    return SiteGenotypes.aligned(files, listed, patients=patients, palindromic=agreed.palindromic)


def _agreed_list(path: Path, agreed: AgreedVariants, *, site: str) -> VariantList:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_TEXT + 1)
    except OSError as failure:
        raise RecordsUnreadableError(
            f"expected the study's list of variants in {path.name}, got {type(failure).__name__}",
            site=site,
            remedy="get the list from the study's lead, and name it in the mapping (`genotypes.variants`)",
        ) from failure
    if len(content) > LARGEST_TEXT:
        raise RecordsUnreadableError(f"expected {path.name} of at most {LARGEST_TEXT} bytes, got more", site=site)
    try:
        listed = parse_bim(content, name=path.name)
        check_list(listed, agreed)
    except InvalidInputError as failure:
        raise RecordsUnreadableError(failure.message, site=site, remedy=failure.remedy) from failure
    return listed
