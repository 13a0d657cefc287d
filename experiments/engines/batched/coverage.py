"""Which studies the `batched` engine computes exactly; all others run with `inline`."""

from __future__ import annotations

from federation.models.stacked.network import stacked_network
from federation.models.task_terms import CoxTerms
from federation.privacy.clipping import GRID_BITS
from federation.privacy.promise import PatientLevelPrivacy
from federation.privacy.summation import leaves_room
from federation.study.manifest import StudyManifest
from federation.study.network import network_of


def reason_against_batching(manifest: StudyManifest) -> str | None:
    """Why a study cannot be batched, in words; ``None`` if it can."""
    share = manifest.noise_share()
    private = isinstance(manifest.privacy, PatientLevelPrivacy)
    reason = _reason_in_terms(manifest)
    if reason is not None:
        return reason
    network = stacked_network(network_of(manifest, private=private))
    if network is None or manifest.contract.arrays:
        streamed = "its images or signals are streamed from the disk"
        return streamed if network else "its network has a layer that is not batched, such as batch normalisation"
    bits = GRID_BITS if share is None else share.grid_bits
    if private and not leaves_room(network.num_parameters, grid_bits=bits):
        return "its gradients are cut to a coarse grid patient by patient"
    return None


def _reason_in_terms(manifest: StudyManifest) -> str | None:
    """What the manifest's words alone tell, without building the network."""
    if manifest.cohort.provenance == "patients":
        return "its cohort is of real patients, whose agents keep ledgers"
    if manifest.aggregation.masked is not None and manifest.noise_share() is None:
        return "secure aggregation is simulated message by message"
    if manifest.compression is not None:
        return "its updates are compressed for the wire"
    if isinstance(manifest.task_terms, CoxTerms):
        return "its loss compares the patients of a batch"
    return None
