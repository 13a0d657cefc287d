"""A release in MLflow's registry of models: its files as artefacts of a run, and a version that points to them.

Repeating it changes nothing: run and version carry the hash of the release's record.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.mlflow_delivery import connected, experiment_of, require_mlflow
from aggregator.run_records import clean_key
from aggregator.tracking import TrackingTarget
from federation.errors import TransportError
from federation.governance.releases import RELEASE_FILE, OpenedRelease

_RELEASE_TAG: Final = "cohortium.release"
_FOLDER: Final = "release"


@dataclass(frozen=True)
class RegisteredVersion:
    """Where a release is found in the registry."""

    name: str
    version: str
    run: str


def register_release(
    folder: Path, opened: OpenedRelease, target: TrackingTarget, *, name: str | None = None
) -> RegisteredVersion:
    """Register a release that was checked.

    Args:
        folder: Of the release.
        opened: The same, checked. Its bytes are what is registered.
        target: Database or server.
        name: Of the registered model; without, the study's.

    Raises:
        MissingDependencyError: If mlflow is not installed.
        TransportError: If the target does not take it.
    """
    require_mlflow()
    manifest = opened.manifest
    model = clean_key(name or manifest.study)
    digest = hashlib.sha256(opened.signed.release.canonical_bytes()).hexdigest()
    tags = {_RELEASE_TAG: digest, "cohortium.manifest_digest": manifest.digest, "cohortium.study": manifest.study}
    try:
        with connected(target) as client:
            experiment = experiment_of(client, target)
            found = client.search_runs([experiment], filter_string=f"tags.`{_RELEASE_TAG}` = '{digest}'", max_results=1)
            run = (
                found[0] if found else client.create_run(experiment, tags=tags, run_name=f"release of {manifest.study}")
            )
            identity = str(run.info.run_id)
            with tempfile.TemporaryDirectory() as place:
                for file, content in opened.contents.items():
                    (Path(place) / file).parent.mkdir(exist_ok=True)
                    (Path(place) / file).write_bytes(content)
                shutil.copy(folder / RELEASE_FILE, place)
                client.log_artifacts(identity, place, _FOLDER)
            client.set_terminated(identity, status="FINISHED")
            if not client.search_registered_models(filter_string=f"name = '{model}'"):
                client.create_registered_model(model, description=manifest.title)
            for version in client.search_model_versions(f"name = '{model}'"):
                if version.run_id == identity:
                    return RegisteredVersion(model, str(version.version), identity)
            source = f"{run.info.artifact_uri}/{_FOLDER}"
            made = client.create_model_version(model, source=source, run_id=identity, tags=tags)
            return RegisteredVersion(model, str(made.version), identity)
    except Exception as failure:  # the client raises what its transport raises
        raise TransportError(
            f"expected MLflow at {target.uri} to take the release, got {type(failure).__name__}",
            remedy="the release itself is complete; start the server, or correct its address, and register it again",
        ) from failure
