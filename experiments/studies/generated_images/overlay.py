"""``python -m experiments.studies.generated_images.overlay FOLDER``: generated test slices with truth and prediction as a figure.

Reads a finished simulation with ``study.options.task=segmentation`` and writes ``overlay.svg`` beside its report. Patients' images
are never drawn: the study must be of generated records.

Axis names: K pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from experiments.module_command import run_module
from federation.data.arrays import Mask
from federation.durable_files import write_durably
from federation.errors import ConfigurationError, PrivacyRefusedError
from federation.study.manifest import StudyManifest, read_sealed
from federation.study.model_file import read_model
from site_client.patient_files import read_patients

OVERLAY: Final = "overlay.svg"
_CAPTION: Final = "Generated slices, one of each hospital: the drawn lesion (solid) and what the model marks (dashed)."


def draw_overlay(
    folder: Annotated[Path, typer.Argument(help="Of a finished simulation.", exists=True, file_okay=False)],
    seed: Annotated[int, typer.Option("--seed", help="Of the run.")] = 42,
) -> None:
    """Draw one test slice with a lesion of each hospital, the lesion, and what the trained model marks."""
    import torch

    from aggregator.report.overlay_figure import Marked, overlay_figure

    manifest, run = _manifest(folder, seed)
    model = read_model((run / "model.safetensors").read_bytes(), manifest).module()
    pictures: list[Marked] = []
    for entry in manifest.roster:
        test = read_patients(run / "patients" / entry.site / "patients.safetensors").test
        largest = max(range(test.num_records), key=lambda row: float(test.outcomes[row : row + 1].sum()))
        features, truth = test.features[largest : largest + 1], test.outcomes[largest : largest + 1]
        with torch.no_grad():
            found = model(torch.from_numpy(features)).numpy() > 0
        shape = manifest.contract.arrays[0].shape[-2:]
        dice = 2 * float((found * truth).sum()) / max(1.0, float(found.sum() + truth.sum()))
        pictures.append(
            Marked(
                title=f"{entry.site}\nDice {dice:.2f}",
                image=features.reshape(-1, *shape)[0],
                truth=truth.reshape(shape),
                found=found.reshape(shape).astype(np.float32),
            )
        )
    write_durably(folder / OVERLAY, overlay_figure(pictures, caption=_CAPTION).svg.encode())
    typer.echo(str(folder / OVERLAY))


def _manifest(folder: Path, seed: int) -> tuple[StudyManifest, Path]:
    run = folder / f"seed-{seed}"
    if not (run / "manifest.json").is_file():
        raise ConfigurationError(
            f"expected a finished simulation with seed {seed} in {folder}, got none",
            remedy="name its output folder, and the seed with --seed",
        )
    manifest = read_sealed((run / "manifest.json").read_bytes())
    if manifest.cohort.provenance != "synthetic":
        raise PrivacyRefusedError(
            f"expected a study of generated images, got provenance {manifest.cohort.provenance!r}",
            remedy="images of people are never drawn into a figure",
        )
    if not isinstance(manifest.contract.outcome, Mask):
        raise ConfigurationError(
            f"expected a segmentation, got task {manifest.task!r}", remedy="run experiment=generated_segmentation first"
        )
    return manifest, run


if __name__ == "__main__":
    run_module(draw_overlay)
