"""A small tracked run for tests: its rounds, and what MLflow then holds of it."""

import shutil
from dataclasses import dataclass

from aggregator.delivery_process import NoCourier
from aggregator.outbox import Outbox
from aggregator.outbox_tracker import OutboxTracker
from aggregator.tracking import TrackingTarget
from federation.study.result import RoundResult
from tests.small_study import SITES, manifest

CLOSED = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


def round_result(number, *, metrics=None, per_site=True, epsilon=True, dropouts=None):
    metrics = {"auroc": 0.7 + number / 1000, "log_loss": 0.5} if metrics is None else metrics
    dropouts = dropouts or {}
    return RoundResult(
        round_number=number,
        contributors=tuple(site for site in SITES if site not in dropouts),
        dropouts=dropouts,
        metrics=metrics,
        site_metrics=dict.fromkeys(SITES, metrics) if per_site else {},
        epsilon_spent={site: number / (place + 1) for place, site in enumerate(SITES)} if epsilon else {},
        update_norm=0.25,
        model_digest=f"sha256:{number:064d}",
        seconds=1.5,
    )


def server_target(tmp_path, uri=CLOSED):
    return TrackingTarget.choose("server", uri=uri, output=tmp_path)


def recorded(folder, target, *, rounds=3, finish="finished", study=None):
    """The outbox of a run that nobody has delivered yet."""
    tracker = OutboxTracker(folder, target, courier=NoCourier())
    tracker.start(study or manifest(), tags={"cohortium.seed": "7", "cohortium.name": "trial"})
    for number in range(1, rounds + 1):
        tracker.record_rounds([round_result(number)])
    for name in ("pooled", "local_only"):
        tracker.record_baseline(name, {"auroc": 0.8}, parameters={"setting": name})
    report = folder.parent / "report.html"
    report.write_text("<p>report</p>")
    tracker.record_artefact(report)
    model = folder.parent / "model.safetensors"
    model.write_bytes(b"weights")
    tracker.record_artefact(model, folder="model")
    tracker.record_metrics({"final/auroc": 0.81})
    if finish:
        tracker.finish(finish)
    return Outbox(folder)


@dataclass
class Database:
    """MLflow's tables, filled once and copied for each test that needs them."""

    path: object

    def target(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.path, folder / "mlflow.db")
        return TrackingTarget.choose("sqlite", output=folder)


def runs_of(target, outbox):
    """All MLflow runs of the outbox, by the name of the child (empty: the study's own)."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(target.uri)
    experiment = client.get_experiment_by_name(target.experiment)
    key = outbox.fact("run_key")
    found = {}
    for run in client.search_runs([experiment.experiment_id], max_results=500):
        name = run.data.tags["cohortium.run_key"].removeprefix(key).removeprefix("/")
        assert name not in found, f"two runs of {name!r}"
        found[name] = run
    return client, found


def history(client, run, key):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
