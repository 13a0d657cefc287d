"""What a tracker writes about a run, as plain records: values shaped for MLflow by code that does not know MLflow.

One :class:`RunRecord` is one event of the outbox. Names and lengths are made to fit here, when something is recorded, so
that delivery has nothing to decide and nothing to refuse.
"""

from __future__ import annotations

import functools
import json
import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Final, Literal

from pydantic import Field

from aggregator.tracking import RunStatus
from federation.documents import Document, Json
from federation.study.manifest import StudyManifest
from federation.study.result import RoundResult

MAX_KEY: Final = 250
MAX_VALUE: Final = 500
"""Characters of a parameter or tag: MLflow before 2.8 takes 500, later ones 6000."""

_REMEMBERED_KEYS: Final = 2**15
"""Names come again every round, and cleaning them was most of a record's time: enough for a thousand sites of thirty figures."""
_VERSIONED: Final = ("torch", "flwr", "opacus", "numpy", "mlflow")
_SUMMARISED: Final = ("contract", "roster", "software", "cohort")
"""Parts of the manifest that would be hundreds of parameters. They are in the manifest, which is an artefact of the run."""

MlflowStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
_STATUS: Final[Mapping[RunStatus, MlflowStatus]] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}


class KeptArtefact(Document):
    """A file that the outbox keeps a copy of until it is delivered, and after."""

    name: str
    folder: str
    sha256: str


class RunRecord(Document):
    """One event of a run. Every metric is finite."""

    child: str = ""
    """Name of the child run it belongs to; empty: the study's own run."""
    name: str = ""
    """Name for a run that has to be created."""
    step: int = 0
    parameters: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    artefact: KeptArtefact | None = None
    status: MlflowStatus | None = None


def study_record(manifest: StudyManifest, *, tags: Mapping[str, str]) -> RunRecord:
    """The beginning of a run: flattened parameters, and tags of digest and versions.

    Args:
        manifest: Of the study.
        tags: Further tags; ``cohortium.name`` and ``cohortium.seed`` also make the run's name.
    """
    label = tags.get("cohortium.name") or manifest.study
    seed = tags.get("cohortium.seed")
    own_tags = {
        "cohortium.manifest_digest": manifest.digest,
        "cohortium.study": manifest.study,
        "mlflow.note.content": f"{manifest.title}: {manifest.question}",
        **versions(),
    }
    return RunRecord(
        name=_value(f"{label} · seed {seed}" if seed else label),
        parameters=flatten(manifest),
        tags={clean_key(key): _value(text) for key, text in (own_tags | dict(tags)).items() if text},
    )


def round_record(result: RoundResult) -> RunRecord:
    """A finished round: metrics of the whole, by site where the study releases them, and epsilon spent so far."""
    metrics = {
        "round/contributors": float(len(result.contributors)),
        "round/dropouts": float(len(result.dropouts)),
        "round/update_norm": result.update_norm,
        "round/seconds": result.seconds,
    }
    if result.bytes_sent:
        metrics |= {"round/bytes_sent": float(result.bytes_sent), "round/bytes_received": float(result.bytes_received)}
    metrics |= {f"round/{name}": value for name, value in result.metrics.items()}
    metrics |= {f"round/{name}_noise_error": value for name, value in result.metric_errors.items()}
    metrics |= {f"simulator/{name}": value for name, value in result.observed.items()}
    metrics |= {f"site/{site}/contributed": 1.0 for site in result.contributors}
    metrics |= {f"site/{site}/contributed": 0.0 for site in (*result.dropouts, *result.exclusions)}
    if result.rolled_back:
        metrics["round/rolled_back"] = 1.0
    if result.unopened:
        metrics["round/unopened"] = 1.0
    if result.unevaluated:
        metrics["round/unevaluated"] = 1.0
    if result.exclusions:
        metrics["round/exclusions"] = float(len(result.exclusions))
    for site, values in result.site_metrics.items():
        metrics |= {f"site/{site}/{name}": value for name, value in values.items()}
    for site, values in result.site_metric_errors.items():
        metrics |= {f"site/{site}/{name}_noise_error": value for name, value in values.items()}
    metrics |= {f"privacy/epsilon_spent/{site}": value for site, value in result.epsilon_spent.items()}
    if result.epsilon_spent:
        metrics["privacy/epsilon_spent_max"] = max(result.epsilon_spent.values())
    finite, tags = _divide(metrics, what=f"round-{result.round_number}")
    return RunRecord(
        step=result.round_number, metrics=finite, tags=tags | {"cohortium.model_digest": result.model_digest}
    )


def baseline_record(name: str, metrics: Mapping[str, float], *, parameters: Mapping[str, str]) -> RunRecord:
    """A reference, as a child run that is finished at once."""
    finite, tags = _divide(metrics, what="metrics")
    return RunRecord(
        child=clean_key(name),
        name=_value(name),
        parameters={clean_key(key): _value(value) for key, value in parameters.items()},
        metrics=finite,
        tags=tags,
        status="FINISHED",
    )


def figures_record(metrics: Mapping[str, float]) -> RunRecord:
    """Final figures of the study."""
    finite, tags = _divide(metrics, what="final")
    return RunRecord(metrics=finite, tags=tags)


def status_record(status: RunStatus | None) -> RunRecord:
    """The end of a run; ``None``: it goes on."""
    return RunRecord(status="RUNNING" if status is None else _STATUS[status])


def flatten(manifest: StudyManifest) -> dict[str, str]:
    """The manifest as parameters with dotted names, such as ``privacy.epsilon``."""
    flat: dict[str, str] = {}
    for part, value in manifest.as_data().items():
        if part not in _SUMMARISED:
            _flatten_into(flat, part, value)
    contract = manifest.contract
    flat |= {
        "contract.name": contract.name,
        "contract.digest": contract.digest,
        "contract.outcome": contract.outcome.name,
        "contract.num_variables": str(len(contract.variables)),
        "cohort.provenance": manifest.cohort.provenance,
        "cohort.digest": manifest.cohort.digest,
        "roster.num_sites": str(len(manifest.roster)),
        "roster.sites": ", ".join(entry.site for entry in manifest.roster),
        "roster.training_patients": str(sum(entry.training_patients for entry in manifest.roster)),
    }
    return {clean_key(key): _value(text) for key, text in flat.items()}


def _flatten_into(flat: dict[str, str], path: str, value: Json) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _flatten_into(flat, f"{path}.{name}", inner)
    elif isinstance(value, str):
        flat[path] = value
    elif value is not None:
        flat[path] = json.dumps(value)


def versions() -> dict[str, str]:
    """Tags of our version and of the libraries that can change the numbers, for those that are installed."""
    found = {"cohortium.version": "source tree"}
    for package in ("cohortium", *_VERSIONED):
        try:
            found[f"{package}.version"] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.lru_cache(maxsize=_REMEMBERED_KEYS)
def clean_key(name: str) -> str:
    """A name that MLflow takes for a parameter, metric or tag, on every system: ``[A-Za-z0-9_.- /]``, a normal path."""
    words = re.sub(r"[^\w.\- /]", "_", name, flags=re.ASCII).strip("/")
    parts = [part for part in posixpath.normpath(words).split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[:MAX_KEY].rstrip("/") or "unnamed"


def _value(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _divide(metrics: Mapping[str, float], *, what: str) -> tuple[dict[str, float], dict[str, str]]:
    """Finite metrics, and a tag that names the others: databases store neither NaN nor infinity faithfully."""
    finite = {clean_key(name): float(value) for name, value in metrics.items() if math.isfinite(value)}
    dropped: Sequence[str] = sorted(clean_key(name) for name, value in metrics.items() if not math.isfinite(value))
    return finite, {f"cohortium.not_finite.{what}": _value(", ".join(dropped))} if dropped else {}
