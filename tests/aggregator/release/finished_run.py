"""Folders of finished studies for the tests of this folder."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from aggregator.report.content import StudyReport
from federation.data.encoding import feature_names, num_outputs
from federation.models.build import build_model
from federation.models.parameters import flatten, layout_of
from federation.privacy.audit_result import AuditResult, StudyAudit
from federation.protocol.signatures import SigningKey
from federation.study.manifest import StudyManifest
from federation.study.model_file import StudyModel
from tests.example_report import example_manifest, example_report

LEAD = SigningKey.from_bytes(bytes(range(32)))
SITE = SigningKey.from_bytes(bytes(range(1, 33)))
NOW = dt.datetime(2031, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


def random_model(manifest: StudyManifest, *, seed: int = 3) -> StudyModel:
    """A model with large, different weights everywhere."""
    contract, task = manifest.contract, manifest.objective
    module = build_model(
        manifest.model,
        task=task,
        num_features=len(feature_names(contract)),
        num_outputs=num_outputs(contract, task),
        private=manifest.privacy.kind != "none",
    )
    noise = np.random.default_rng(seed).normal(0, 0.3, layout_of(module).num_parameters).astype(np.float32)
    return StudyModel(manifest=manifest, parameters=flatten(module) + noise)


def model_bytes(model: StudyModel, *, digest: str | None = None) -> bytes:
    metadata = {"cohortium": json.dumps({"manifest": digest or model.manifest.digest})}
    arrays = {"parameters": model.parameters}
    if model.prepared is not None:
        arrays |= {f"preparation/{name}": vector for name, vector in model.prepared.to_arrays().items()}
    return save(arrays, metadata)


def finished_run(
    folder: Path, task: str = "binary", *, private: bool = True, audits: tuple[AuditResult, ...] = (), **changes: object
) -> Path:
    """A run's folder with report, manifest, model and, if there are any, audits."""
    manifest = example_manifest(task, private=private, **changes)
    report: StudyReport = example_report(task, private=private, **changes)
    place = folder / "seed-42"
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(manifest.sealed())
    (place / "model.safetensors").write_bytes(model_bytes(random_model(manifest)))
    (folder / "report.json").write_text(report.model_dump_json())
    if audits:
        found = StudyAudit(manifest_digest=manifest.digest, results=audits)
        (place / "audit.json").write_text(found.model_dump_json())
    return folder


def change_json(path: Path, **changes: object) -> None:
    """Change top-level keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
