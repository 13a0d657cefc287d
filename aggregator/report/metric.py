"""One metric of a report: its words, direction and digits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric is called, read and rounded.

    Args:
        name: Key in the report's data.
        title: Column heading.
        explanation: One sentence for a reader from another field.
        higher_is_better: Direction; ``None`` where zero is best.
        extra_digits: Decimals beyond the report's usual number.
        in_outcome_unit: Whether it is in the unit of the outcome, so that its digits depend on its size.
    """

    name: str
    title: str
    explanation: str
    higher_is_better: bool | None = True
    extra_digits: int = 0
    in_outcome_unit: bool = False
