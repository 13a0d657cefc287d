"""Every planted fault. ``python -m tests.mutants`` shows that each is noticed."""

from __future__ import annotations

from typing import Final

from tests.mutants import accounting_faults, distributed_faults, ledger_faults, mechanism_faults, training_faults
from tests.mutants.mutant import Mutant

CATALOGUE: Final[tuple[Mutant, ...]] = (
    *mechanism_faults.MUTANTS,
    *training_faults.MUTANTS,
    *accounting_faults.MUTANTS,
    *ledger_faults.MUTANTS,
    *distributed_faults.MUTANTS,
)
