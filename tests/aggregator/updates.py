"""Updates of a round for tests of robust rules."""

import numpy as np

from aggregator.update_rows import UpdateRows


def rows_of(updates, *, weights=None, block_numbers=64) -> UpdateRows:
    """Rows of a ``[sites, columns]`` matrix, in small blocks."""
    updates = np.asarray(updates, dtype=np.float64)
    rows = UpdateRows(updates.shape[1], block_numbers=block_numbers)
    for number, update in enumerate(updates):
        rows.append(f"site-{number}", update, weight=1.0 if weights is None else float(weights[number]))
    return rows


def drawn(number, columns=40, *, seed=0):
    """Updates of honest sites: a common direction and differences between hospitals, exact in float32."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=columns)
    return (common + 0.5 * generator.normal(size=(number, columns))).astype(np.float32).astype(np.float64)
