"""Runs of ``make bench`` made by hand, with round figures."""

from __future__ import annotations

from experiments.benchmarks.records import Benchmarks, Figure, MachineFacts, Measurement

UNIT_COSTS = {
    "site_seconds": 0.001,
    "message_seconds_per_parameter": 2e-9,
    "fold_seconds_per_parameter": 1e-9,
    "message_bytes": 1000.0,
    "mask_seconds_per_parameter": 1e-9,
    "key_site_seconds": 0.01,
    "key_server_seconds": 0.002,
    "key_list_bytes": 100.0,
    "key_pair_bytes": 500.0,
    "share_seconds": 1e-7,
}


def measured(name: str, *ratios: float) -> Measurement:
    """A measurement with these ratios, of a floor that takes a second."""
    return Measurement(
        name=name, question=f"what {name} costs", unit="round", ours_seconds=ratios, floor_seconds=(1.0,) * len(ratios)
    )


def figure(name: str, value: float) -> Figure:
    """A figure without a unit."""
    return Figure(name=name, question=f"what {name} is", value=value, unit="ratio")


def unit_costs() -> tuple[Figure, ...]:
    """All prices of a scale plan."""
    return tuple(figure(f"unit_{name}", value) for name, value in UNIT_COSTS.items())


def run_of(*measurements: Measurement, **fields: object) -> Benchmarks:
    """A run with these measurements on a made-up machine."""
    machine = MachineFacts(
        processor="Abacus 2",
        cores=2,
        caches={"L1 data": "48K"},
        memory_gib=16.0,
        system="Linux",
        python="3.12.1",
        torch_build="beads",
        threads=1,
        accelerator="none",
        versions={"torch": "2.13.0"},
    )
    content = {
        "date": "2026-11-26",
        "quick": False,
        "machine": machine,
        "load_before": (0.1, 0.2, 0.3),
        "load_after": (1.0, 1.0, 1.0),
        "measurements": measurements,
    }
    return Benchmarks.model_validate(content | fields)
