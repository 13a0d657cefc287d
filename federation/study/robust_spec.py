"""What an ``open_robust`` study agrees on: how many sites may be faulty, the checks, and the rule that combines the rest.

A *faulty* site is one that sends what its records did not give, whether from malice, a bug or a broken disk. All
guarantees are for at most ``byzantine`` of them; the rules count sites and not patients, because a faulty hospital may be
the largest one.
"""

from __future__ import annotations

from typing import Annotated, Literal, assert_never

from pydantic import Field

from federation.documents import Document
from federation.identifiers import SiteId


class TrimmedMean(Document):
    """Per coordinate, the f smallest and f largest values are left out (Yin et al. 2018, definition 2).

    What is left is averaged with the public weights of the roster.
    """

    kind: Literal["trimmed_mean"]


class CoordinateMedian(Document):
    """Per coordinate, the median of the sites (Yin et al. 2018, definition 1)."""

    kind: Literal["median"]


class Krum(Document):
    """The mean of the updates that are nearest to their neighbours (Blanchard et al. 2017, section 4: Multi-Krum)."""

    kind: Literal["krum"]
    selected: Annotated[int, Field(ge=1)] | None = None
    """Updates that are averaged, at most n - f - 2 (Damaskinos et al. 2019, section 3.1); ``None``: as many; 1: Krum."""


class GeometricMedian(Document):
    """The point with the smallest sum of distances to the updates (Pillutla et al. 2022, algorithm 2)."""

    kind: Literal["geometric_median"]
    iterations: Annotated[int, Field(ge=1, le=1000)] = 100
    """Weiszfeld steps, at most."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """Ends when the sum of distances falls by less than this fraction."""


class FLTrust(Document):
    """Updates weighed by their direction's agreement with a trusted site's, at its length (Cao et al. 2021, eq. 2 to 5)."""

    kind: Literal["fltrust"]
    root: SiteId
    """The trusted site of the roster, such as one that holds public reference records."""


RobustRule = Annotated[
    TrimmedMean | CoordinateMedian | Krum | GeometricMedian | FLTrust,
    Field(discriminator="kind"),
]


class RobustSpec(Document):
    """Checks of single updates, and the rule that combines what passes them."""

    rule: RobustRule
    byzantine: Annotated[int, Field(ge=0)]
    """Faulty sites that the study is to survive (f)."""
    norm_bound: Annotated[float, Field(gt=0)]
    """Public bound on the L2 norm of an update."""
    beyond_bound: Literal["exclude", "clip"] = "exclude"
    """What happens to a longer update: left out and reported, or shortened to the bound."""

    def reason_against(self, sites: tuple[str, ...]) -> str | None:
        """Why the rule cannot keep its guarantee with these sites, or ``None`` if it can.

        Args:
            sites: Of the roster.
        """
        least, number = sites_needed(self.rule, self.byzantine), len(sites)
        if number < least:
            return (
                f"expected at least {least} sites for {self.rule.kind} with {self.byzantine} faulty ones, got {number}: "
                f"with {number} it survives {largest_tolerated(self.rule, number)}"
            )
        if isinstance(self.rule, FLTrust) and self.rule.root not in sites:
            return f"expected the trusted root to be a site of the roster, one of {list(sites)}, got {self.rule.root!r}"
        most = number - self.byzantine - 2
        if isinstance(self.rule, Krum) and self.rule.selected is not None and self.rule.selected > most:
            return f"expected krum to average at most n - f - 2 = {most} updates, got {self.rule.selected}"
        return None


def sites_needed(rule: RobustRule, faulty: int) -> int:
    """Updates that a rule needs so that ``faulty`` of them cannot control what it gives.

    Trimmed mean and medians need an honest majority; Krum 2f + 3 (Blanchard et al. 2017, proposition 4.2); FLTrust one
    honest site, its root.
    """
    match rule:
        case TrimmedMean() | CoordinateMedian() | GeometricMedian():
            return 2 * faulty + 1
        case Krum():
            return 2 * faulty + 3
        case FLTrust():
            return faulty + 1
        case _:
            assert_never(rule)


def largest_tolerated(rule: RobustRule, sites: int) -> int:
    """The most faulty sites among ``sites`` that a rule survives; -1 if it cannot be used at all."""
    return max((f for f in range(sites + 1) if sites_needed(rule, f) <= sites), default=-1)
