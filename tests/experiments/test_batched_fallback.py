"""What `batched` does not cover runs with `inline`: a notice says why, and the model is that of `inline`, to the bit."""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from aggregator.tracking import NullTracker
from conf.loading import compose
from conf.validation import build
from experiments.engines.batched import coverage
from experiments.identities import make_identities
from experiments.preparation import PreparedSites
from experiments.settings import SimulationSettings
from experiments.study_run import federate
from federation.data.arrays import Image
from federation.errors import PrivacyRefusedError
from federation.models.build import build_model
from federation.models.spec import ModelSpec, UnetSpec
from federation.models.stacked.network import stacked_network
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.arrays.store import ArrayWriter
from site_client.arrays.stored import StoredArray
from site_client.arrays.streamed import ArrayBlock, StreamedRows
from site_client.patients import SiteData
from site_client.site_folder import write_patients
from tests.experiments.batched_study import MODELS, SIZES, data_of, study
from tests.masked_study import SITES as MASKED_SITES
from tests.masked_study import masked_manifest
from tests.masked_study import site_data as masked_data
from tests.objectives import COX
from tests.small_study import private

SEED = 7
WHOLE = {"north": 32, "south": 16, "west": 48}
"""Training patients that mini-batches divide: batch normalisation refuses a batch of one."""
LAYER = "its network has a layer that is not batched, such as batch normalisation"
SCAN = {
    "name": "scan", "kind": "image", "modality": "generated", "channels": 1, "height": 4, "width": 4,
    "minimum": 0, "maximum": 200, "unit": "dimensionless",
}  # fmt: skip
ZOO = {
    "batch normalisation": {"kind": "mlp", "hidden": [4], "normalisation": "batch"},
    "convolutions over time": {"kind": "cnn1d", "signal_shape": [2, 8], "channels": [3], "kernel": 3, "hidden": 4},
    "gru": {"kind": "gru", "signal_shape": [2, 8], "hidden": 3, "step_samples": 2},
}
"""Networks with a layer that is not batched."""


@dataclass(frozen=True)
class Case:
    """A study, its patients, and why it cannot be batched."""

    why: str
    manifest: StudyManifest
    data: list[SiteData]


def _changed(manifest: StudyManifest, **changes: object) -> StudyManifest:
    return StudyManifest.from_data(manifest.model_dump(mode="json") | changes)


def _of_zoo(name: str, *, promise: str = "plain") -> Callable[[Path], Case]:
    def make(_folder: Path) -> Case:
        manifest = _changed(study(privacy=promise, sizes=WHOLE), model=ZOO[name])
        return Case(LAYER, manifest, data_of(manifest, sizes=WHOLE))

    return make


def _cox(_folder: Path) -> Case:
    evaluation = {"release": "sum", "score_bins": 200}
    manifest = _changed(study(task="survival"), task_terms=COX.as_data(), evaluation=evaluation)
    return Case("its loss compares the patients of a batch", manifest, data_of(manifest))


def _masked(folder: Path) -> Case:
    why = "secure aggregation is simulated message by message"
    return Case(why, masked_manifest(folder), [masked_data(site) for site in MASKED_SITES])


def _compressed(_folder: Path) -> Case:
    manifest = study(compression={"precision": "float16", "kept_fraction": 0.5})
    return Case("its updates are compressed for the wire", manifest, data_of(manifest))


def _streamed(folder: Path) -> Case:
    base = study(model="cnn")
    contract = base.contract.as_data() | {"variables": [SCAN]}
    manifest = _changed(base, contract=contract)
    data = [
        replace(site, training=_on_disk(site.training, folder / site.site), test=_on_disk(site.test, folder / "test" / site.site))
        for site in data_of(manifest)
    ]  # fmt: skip
    return Case("its images or signals are streamed from the disk", manifest, data)


def _on_disk(dataset, folder: Path):
    """The same patients with generated pixels in a file."""
    variable, rows = Image.from_data(SCAN), np.arange(dataset.num_records)
    folder.mkdir(parents=True)
    writer = ArrayWriter(folder / "scan.npy", shape=variable.shape, dtype="uint8")
    for pixels in np.random.default_rng(len(rows)).integers(0, 200, (len(rows), *variable.shape)):
        writer.append(pixels.astype(np.uint8))
    stored = StoredArray(
        folder / "scan.npy", variable.shape, "uint8", len(rows), step=1.0, start=0.0, sha256=writer.close()
    ).checked(site="a")
    names = tuple(f"scan[{place}]" for place in range(variable.size))
    streamed = StreamedRows([ArrayBlock(variable, (stored,), np.zeros_like(rows), rows)])
    return replace(dataset, features=streamed, feature_names=names)


def _coarse(folder: Path) -> Case:
    """Noise so large that its share is drawn on a grid of 2**11 steps, for a network of some hundred parameters."""
    promise = private(epsilon=0.2, probability=0.5, steps=3) | {"noise": "distributed"}
    manifest = masked_manifest(
        folder,
        model={"kind": "mlp", "hidden": [200]},
        privacy=promise,
        schedule={"rounds": 3, "local_steps": 1, "optimiser": {"learning_rate": 0.5}},
        evaluation={"release": "none"},
    )
    data = [masked_data(site) for site in MASKED_SITES]
    return Case("its gradients are cut to a coarse grid patient by patient", manifest, data)


CASES: dict[str, Callable[[Path], Case]] = {
    "batch normalisation": _of_zoo("batch normalisation"),
    "convolutions over time": _of_zoo("convolutions over time"),
    "convolutions over time, private": _of_zoo("convolutions over time", promise="private"),
    "gru": _of_zoo("gru"),
    "gru, private": _of_zoo("gru", promise="private"),
    "cox": _cox,
    "masked": _masked,
    "compressed": _compressed,
    "streamed": _streamed,
    "coarse grid": _coarse,
}


def _federate(case: Case, engine: str, folder: Path) -> StudyResult:
    """The study by an engine, as `cohortium simulate` runs it."""
    files = {site.site: folder / "patients" / f"{site.site}.safetensors" for site in case.data}
    for site in case.data:
        write_patients(files[site.site], site)
    names, provenance = [site.site for site in case.data], case.manifest.cohort.provenance
    identities = {}
    if case.manifest.aggregation.masked is not None:
        identities = make_identities(names, folder / "keys", seed=3, provenance=provenance)
    data = tuple(case.data)
    sites = PreparedSites(
        case.manifest, data, data, attrition={}, readiness={}, patient_files=files, identities=identities
    )
    settings = build(SimulationSettings, compose([f"engine={engine}"]))
    return federate(
        settings, sites, case.manifest, seed=SEED, folder=folder, tracker=NullTracker(), report=lambda *_: None
    )


def _notices(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "instead of batched" in record.getMessage()]


@pytest.mark.parametrize("name", CASES)
def test_a_notice_says_why_and_the_model_is_that_of_inline(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = CASES[name](tmp_path)
    with caplog.at_level(logging.WARNING, logger="cohortium.simulation"):
        asked_for_batched = _federate(case, "batched", tmp_path / "batched")
    assert _notices(caplog) == [f"engine inline instead of batched: {case.why}"]
    by_inline = _federate(case, "inline", tmp_path / "inline")
    assert [entry.model_digest for entry in asked_for_batched.rounds] == [
        entry.model_digest for entry in by_inline.rounds
    ]
    np.testing.assert_array_equal(asked_for_batched.parameters, by_inline.parameters)


def test_what_is_covered_runs_without_a_notice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = study()
    with caplog.at_level(logging.INFO):
        _federate(Case("", manifest, data_of(manifest)), "batched", tmp_path)
    assert _notices(caplog) == []
    assert any(f"{len(SIZES)} sites in blocks" in record.getMessage() for record in caplog.records)


def test_real_patients_get_the_notice_and_what_inline_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whose studies are private and need ledgers, which no simulation has: both engines refuse in the same words."""
    promised = study(privacy="private")
    manifest = _changed(promised, cohort={"provenance": "patients"})
    case = Case("its cohort is of real patients, whose agents keep ledgers", manifest, data_of(manifest))
    said = []
    for engine in ("batched", "inline"):
        with pytest.raises(PrivacyRefusedError) as refusal:
            _federate(case, engine, tmp_path / engine)
        said.append(refusal.value.message)
    assert said[0] == said[1]
    assert _notices(caplog) == [f"engine inline instead of batched: {case.why}"]


def test_every_reason_has_a_case(tmp_path: Path) -> None:
    """Sentences in the code of `coverage.py`, apart from its docstrings, are reasons."""
    tree = ast.parse(Path(coverage.__file__).read_text(encoding="utf-8"))
    described = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef)
    }
    said = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    reasons = {text for text in said - described if " " in text}
    met = {make(tmp_path / str(number)).why for number, make in enumerate(CASES.values())}
    assert reasons == met | {"its cohort is of real patients, whose agents keep ledgers"}


def test_every_kind_of_model_is_batched_or_falls_back() -> None:
    kinds = {get_args(spec.model_fields["kind"].annotation)[0] for spec in get_args(get_args(ModelSpec)[0])}
    assert kinds == {spec["kind"] for spec in (*MODELS.values(), *ZOO.values())} | {"unet"}
    unet = UnetSpec(kind="unet", image_shape=(1, 8, 8), channels=(4, 8))
    for normalisation in ("none", "layer", "group"):
        model = build_model(
            unet.model_copy(update={"normalisation": normalisation}),
            task="segmentation",
            num_features=64,
            num_outputs=64,
            private=True,
        )
        assert stacked_network(model) is None, "and its masks are streamed"
