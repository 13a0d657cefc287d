"""Faults in accounting, calibration and the filter."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_ACCOUNTING: Final = "federation/privacy/accounting.py"
_CURVES: Final = "federation/privacy/rdp_curves.py"
_FILTER: Final = "federation/privacy/renyi_filter.py"
_OF_ACCOUNTING: Final = "tests/federation/privacy/test_accounting.py"
_OF_FILTER: Final = "tests/federation/privacy/test_renyi_filter.py"
_OF_CALIBRATION: Final = "tests/federation/privacy/test_calibration.py"
_ORDERS: Final = "tests/federation/privacy/test_filter_orders.py"

MUTANTS: Final = (
    Mutant(
        "costs rounded down",
        _ACCOUNTING,
        "min(math.ceil(value * NANO), UNBOUNDED)",
        "min(math.floor(value * NANO), UNBOUNDED)",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "one step charged for many",
        _ACCOUNTING,
        "return _rounded_up(subsampled_gaussian(numerator, noise_multiplier) * steps)",
        "return _rounded_up(subsampled_gaussian(numerator, noise_multiplier))",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "refund",
        _ACCOUNTING,
        "if times < 0:",
        "if times < -1:",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "unbounded cost forgotten",
        _ACCOUNTING,
        "curve = np.where(whole < UNBOUNDED, whole / NANO, math.inf)",
        "curve = np.where(whole < UNBOUNDED, whole / NANO, 0.0)",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "delta ignored",
        _ACCOUNTING,
        "np.log(delta * ORDERS)",
        "np.log(ORDERS)",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "unknown event costs nothing",
        _ACCOUNTING,
        '    raise PrivacyRefusedError(\n        f"expected an event of a known kind',
        '    return NOTHING\n    raise PrivacyRefusedError(\n        f"expected an event of a known kind',
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "only the last event is charged",
        _ACCOUNTING,
        "        total = add(total, cost_of(event))\n",
        "        total = cost_of(event)\n",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "rounds started afresh",
        _ACCOUNTING,
        "times=rounds_done), delta=delta)",
        "times=min(rounds_done, 1)), delta=delta)",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "counts charged for twice their noise",
        _CURVES,
        "return ORDERS * (sensitivity_squared / (2 * variance))",
        "return ORDERS * (sensitivity_squared / (4 * variance))",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "accounted at half the sampling probability",
        _CURVES,
        "probability = numerator / PROBABILITY_DENOMINATOR",
        "probability = numerator / PROBABILITY_DENOMINATOR / 2",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "the pure mechanism's cost halved",
        _CURVES,
        "return np.minimum((np.maximum(moment, 0.0) + _ROUNDING * ORDERS) / (ORDERS - 1), epsilon)",
        "return np.minimum((np.maximum(moment, 0.0) + _ROUNDING * ORDERS) / (ORDERS - 1), epsilon) / 2",
        (_OF_ACCOUNTING,),
    ),
    Mutant(
        "the noise just below what the promise needs",
        "federation/privacy/calibration.py",
        "    return enough\n",
        "    return too_little\n",
        (_OF_CALIBRATION,),
    ),
    Mutant(
        "what a study releases beside training not counted",
        "federation/privacy/calibration.py",
        "add(beside, cost_of(event), times=rounds)",
        "add(NOTHING, cost_of(event), times=rounds)",
        (_OF_CALIBRATION,),
    ),
    Mutant(
        "sampling more often than asked",
        "federation/privacy/calibration.py",
        "numerator = math.floor(probability_of_patient * PROBABILITY_DENOMINATOR)",
        "numerator = math.ceil(probability_of_patient * PROBABILITY_DENOMINATOR * 1.01)",
        (_OF_CALIBRATION,),
    ),
    Mutant(
        "filter off by one: the charge itself does not count",
        _FILTER,
        "return self.spent(add(spent, charge)) <= self.epsilon_cap",
        "return self.spent(spent) <= self.epsilon_cap",
        (_OF_FILTER,),
    ),
    Mutant(
        "filter looks at the charge alone",
        _FILTER,
        "return self.spent(add(spent, charge)) <= self.epsilon_cap",
        "return self.spent(charge) <= self.epsilon_cap",
        (_OF_FILTER,),
    ),
    Mutant(
        "filter takes any order where one was named",
        _FILTER,
        "        if self.order is not None:\n            by_order",
        "        if self.order is not None and self.order < 0:\n            by_order",
        (_OF_FILTER, _ORDERS),
    ),
    Mutant(
        "filter ignores its delta",
        _FILTER,
        "by_order = epsilon_by_order(cost, delta=self.delta)",
        "by_order = epsilon_by_order(cost, delta=0.5)",
        (_OF_FILTER,),
    ),
)
