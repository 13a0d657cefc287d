"""Which studies the `batched` engine computes exactly; all others run with `inline`."""

from __future__ import annotations

from federation.data.encoding import feature_names, num_outputs
from federation.models.build import build_model
from federation.models.stacked.network import stacked_network
from federation.privacy.clipping import GRID_BITS
from federation.privacy.promise import PatientLevelPrivacy
from federation.privacy.summation import leaves_room
from federation.study.manifest import StudyManifest


def reason_against_batching(manifest: StudyManifest) -> str | None:
    """Why a study cannot be batched, in words; ``None`` if it can."""
    share = manifest.noise_share()
    private = isinstance(manifest.privacy, PatientLevelPrivacy)
    if manifest.cohort.provenance == "patients":
        return "its cohort is of real patients, whose agents keep ledgers"
    if manifest.aggregation.masked is not None and share is None:
        return "secure aggregation is simulated message by message"
    if manifest.compression is not None:
        return "its updates are compressed for the wire"
    if manifest.contract.arrays:
        return "its images or signals are streamed from the disk"
    network = stacked_network(
        build_model(
            manifest.model,
            task=manifest.task,
            num_features=len(feature_names(manifest.contract)),
            num_outputs=num_outputs(manifest.contract, manifest.task),
            private=private,
        )
    )
    if network is None:
        return "its network has a layer that is not batched, such as batch normalisation"
    bits = GRID_BITS if share is None else share.grid_bits
    if private and not leaves_room(network.num_parameters, grid_bits=bits):
        return "its gradients are cut to a coarse grid patient by patient"
    return None
