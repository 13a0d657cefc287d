"""Settings on which the accountant is compared with others, and the script that writes their golden values.

Run from the repository: ``python -m tests.vectors.accounting_settings`` writes ``accounting.json`` from dp-accounting.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

VECTORS = Path(__file__).with_name("accounting.json")

# (noise multiplier, sampling numerator, steps, delta): tiny and full sampling, little and much noise, one step and 100,000.
_PROBABILITIES = {
    "1/1000": 2**53 // 1000,
    "1/100": 2**53 // 100,
    "1/20": 2**53 // 20,
    "1/10": 2**53 // 10,
    "3/10": 2**53 * 3 // 10,
    "1/2": 2**52,
    "9/10": 2**53 * 9 // 10,
    "1": 2**53,
}
SETTINGS: tuple[tuple[float, int, int, float], ...] = tuple(
    (noise, _PROBABILITIES[probability], steps, delta)
    for noise, probability, steps, delta in (
        (1.1, "1/100", 10_000, 1e-5),
        (5.0, "1", 50, 1e-6),
        (0.8, "1/10", 200, 1e-5),
        (0.5, "1/2", 100, 1e-5),
        (0.3, "1/100", 100, 1e-5),
        (50.0, "3/10", 1000, 1e-6),
        (2.0, "1/1000", 100_000, 1e-6),
        (0.4, "9/10", 10, 1e-3),
        (5.1438, "1/10", 300, 1e-3),
        (1.0, "1/20", 1, 1e-5),
        (1.0, "1/20", 1000, 1e-5),
        (1.5, "1/10", 500, 1e-6),
        (3.0, "1/2", 200, 1e-5),
        (10.0, "9/10", 1000, 1e-6),
        (20.0, "1", 2000, 1e-5),
        (0.7, "1/1000", 1000, 1e-6),
        (1.3, "3/10", 20, 1e-3),
        (4.0, "3/10", 60, 1e-2),
        (0.6, "1/20", 50, 1e-4),
        (2.5, "1/10", 2000, 1e-8),
        (8.0, "1/2", 4000, 1e-5),
        (1.0, "1", 1, 1e-5),
        (0.9, "9/10", 3, 1e-3),
        (30.0, "1/20", 50_000, 1e-7),
    )
)


def _golden() -> list[dict[str, float]]:
    from dp_accounting import dp_event
    from dp_accounting.pld import pld_privacy_accountant
    from dp_accounting.rdp import rdp_privacy_accountant

    logging.getLogger("absl").setLevel(logging.ERROR)
    rows: list[dict[str, float]] = []
    for noise, numerator, steps, delta in SETTINGS:
        event = dp_event.PoissonSampledDpEvent(numerator / 2**53, dp_event.GaussianDpEvent(noise))
        rdp, pld = rdp_privacy_accountant.RdpAccountant(), pld_privacy_accountant.PLDAccountant()
        row = {"noise_multiplier": noise, "sampling_numerator": numerator, "steps": steps, "delta": delta}
        row["rdp_epsilon"] = float(rdp.compose(event, steps).get_epsilon(delta))
        row["pld_epsilon"] = float(pld.compose(event, steps).get_epsilon(delta))
        rows.append(row)
    return rows


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(_golden(), indent=1) + "\n", encoding="utf-8")
