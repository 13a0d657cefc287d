"""A finished simulation's summary, for tests of what is shown and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.settings import PatientLevelChoice, SimulationSettings
from experiments.summary import SettingRow, SimulationSummary


def row(setting: str, accuracy: float, *, seeds: int = 1) -> SettingRow:
    metrics = {"accuracy": accuracy, "auroc": accuracy + 0.05, "mean_site_accuracy": accuracy - 0.01}
    return SettingRow(
        setting=setting,
        metrics=metrics,
        interval={name: (value - 0.02, value + 0.02) for name, value in metrics.items()} if seeds > 1 else {},
        per_site={"north": {"auroc": 0.9, "accuracy": 0.8}, "south": {"auroc": 0.7, "accuracy": 0.6}},
        by_seed={name: (value,) * seeds for name, value in metrics.items()},
    )


def summary(folder: Path, *, seeds: tuple[int, ...] = (42,), **changes: Any) -> SimulationSummary:
    data: dict[str, Any] = {
        "study": "demo",
        "name": "demo",
        "task": "binary",
        "algorithm": "fedavg",
        "model": "linear",
        "privacy_kind": "patient_level",
        "epsilon": 2.0,
        "delta": 0.001,
        "epsilon_spent": {"north": 1.99, "south": 1.98},
        "seeds": seeds,
        "seeded": True,
        "output": str(folder),
        "report": str(folder / "report.html"),
        "mlflow_command": f"mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db",
        "manifest_digest": "sha256:0",
        "model_digest": "sha256:1",
        "primary_metric": "auroc",
        "settings_table": tuple(row(name, 0.8, seeds=len(seeds)) for name in ("local_only", "federated", "pooled")),
    }
    return SimulationSummary(**(data | changes))


def fake_simulate(
    settings: SimulationSettings, *, output: Path, data: Path | None, progress: object
) -> SimulationSummary:
    """Stands for :func:`experiments.simulate.simulate`: writes what it writes, trains nothing."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "settings.json").write_text(settings.model_dump_json())
    private = isinstance(settings.privacy, PatientLevelChoice)
    found = summary(
        output,
        seeds=settings.seeds,
        study=settings.study.name,
        algorithm=settings.algorithm.kind,
        epsilon=settings.privacy.epsilon if isinstance(settings.privacy, PatientLevelChoice) else None,
        delta=settings.privacy.delta if isinstance(settings.privacy, PatientLevelChoice) else None,
        privacy_kind="patient_level" if private else "none",
    )
    (output / "summary.json").write_text(found.model_dump_json())
    return found
