"""The list of variants of an association study at the aggregator: a file under the digest that the manifest names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aggregator.statistics.analysing import Analysis
from federation.durable_files import read_whole, write_durably
from federation.errors import CheckpointError, InvalidInputError
from federation.statistics.agreed_genotypes import AgreedVariants, check_list
from federation.statistics.genotypes.variants import VariantList, parse_bim
from federation.study.manifest import StudyManifest

LARGEST_LIST: Final = 2**30


def read_variants(path: Path) -> VariantList:
    """A list of variants from a ``.bim`` file.

    Raises:
        InvalidInputError: If it is none.
    """
    try:
        content = read_whole(path, largest=LARGEST_LIST)
    except OSError as failure:
        raise InvalidInputError(
            f"expected a list of variants at {path}, got: {failure.strerror or type(failure).__name__}",
            remedy="give PLINK's .bim file",
        ) from failure
    if len(content) > LARGEST_LIST:
        raise InvalidInputError(f"expected a list of at most {LARGEST_LIST} bytes at {path}, got more")
    return parse_bim(content, name=path.name)


def keep_variants(folder: Path, agreed: AgreedVariants, listed: VariantList) -> None:
    """Write the list where :func:`variant_analysis` finds it.

    Args:
        folder: Of the study's statistics.
        agreed: The association study.
        listed: Its list.

    Raises:
        InvalidInputError: If it is another list than agreed.
    """
    check_list(listed, agreed)
    write_durably(_path(folder, agreed), listed.to_bim())


def has_variants(folder: Path, agreed: AgreedVariants) -> bool:
    """Whether the list is there."""
    return _path(folder, agreed).is_file()


def variant_analysis(study: StudyManifest, agreed: AgreedVariants, *, threshold: int, folder: Path) -> Analysis:
    """An agreed association study as the centre runs it.

    Args:
        study: Supplies the sites.
        agreed: The association study.
        threshold: Smallest number of patients that a count may show.
        folder: Of the study's statistics.

    Raises:
        CheckpointError: If the list is not there, or is another.
    """
    try:
        listed = read_variants(_path(folder, agreed))
        check_list(listed, agreed)
    except InvalidInputError as failure:
        raise CheckpointError(
            f"expected the study's list of variants, got none that is: {failure.message}",
            remedy="give it again: `cohortium study launch ... --variants LIST.bim`",
        ) from failure
    sites = tuple(entry.site for entry in study.roster)
    return Analysis(
        name=agreed.kind,
        selection=agreed.selection,
        solver=lambda patients: agreed.association(listed, sites, patients=patients, threshold=threshold),
    )


def _path(folder: Path, agreed: AgreedVariants) -> Path:
    return folder / f"{agreed.listed.removeprefix('sha256:')}.bim"
