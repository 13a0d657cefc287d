"""``python -m tests.mutants [part of a name ...]``: plant the catalogue's faults, and fail if one goes unnoticed."""

from __future__ import annotations

import sys
from collections import Counter

from tests.mutants.catalogue import CATALOGUE
from tests.mutants.runner import run_all


def main(arguments: list[str]) -> int:
    """Run the mutants whose name or file holds one of the arguments, or all.

    Returns:
        0 if every fault was noticed.
    """
    chosen = [m for m in CATALOGUE if not arguments or any(part in f"{m.name} {m.file}" for part in arguments)]
    outcomes = run_all(chosen)
    counts = Counter(outcome.verdict for outcome in outcomes)
    sys.stdout.write(f"\n{len(outcomes)} planted faults: {', '.join(f'{n} {v}' for v, n in sorted(counts.items()))}\n")
    for outcome in outcomes:
        if outcome.verdict != "killed":
            sys.stdout.write(f"  {outcome.verdict}: {outcome.mutant.name} ({outcome.mutant.file}): {outcome.detail}\n")
    return 0 if chosen and counts["killed"] == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
