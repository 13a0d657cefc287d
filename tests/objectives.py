"""Task terms for tests: three quantiles, and three intervals with every kind of hazard."""

from __future__ import annotations

import itertools

from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, QuantileTerms

EDGES = (1.0, 2.0, 3.5)
QUANTILES = QuantileTerms(levels=(0.25, 0.5, 0.9))
HAZARDS = {
    f"{effects} {hazard}": DiscreteTimeTerms(edges=EDGES, hazard=hazard, effects=effects, time_bins=7)
    for hazard, effects in itertools.product(("cloglog", "logistic"), ("proportional", "by_interval"))
}
COX = CoxTerms(edges=EDGES, time_bins=7)
