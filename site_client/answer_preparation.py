"""The request before round 1: count once, with noise, what the manifest pays for."""

from __future__ import annotations

from federation.data.preparation import count_layout
from federation.errors import PrivacyRefusedError, TransportError
from federation.privacy.randomness import RandomStreams
from federation.protocol.messages import Envelope
from federation.study.manifest import StudyManifest
from site_client.patients import SiteData
from site_client.release_desk import ReleaseDesk
from site_client.release_gate import check_release
from site_client.study_replies import preparation_counts_reply


def answer_preparation(
    envelope: Envelope, *, manifest: StudyManifest, data: SiteData, desk: ReleaseDesk, streams: RandomStreams
) -> bytes:
    """The reply to a request for preparation.

    Args:
        envelope: The request.
        manifest: Of the study.
        data: The site's patients.
        desk: Where releases pass.
        streams: Secret, of the study.

    Raises:
        PrivacyRefusedError: If the manifest pays for none.
        TransportError: If the request holds arrays.
    """
    spec, event, contract = manifest.preparation, manifest.preparation_event(), manifest.contract
    if spec is None or event is None:
        raise PrivacyRefusedError("expected no preparation: the manifest pays for none")
    if envelope.arrays:
        raise TransportError(f"expected no arrays in a request for preparation, got {sorted(envelope.arrays)}")
    generator = streams.child("preparation", data.site).stream("noise")
    return desk.release(
        "prepare/0",
        envelope,
        events=(event,),
        compute=lambda: preparation_counts_reply(data, manifest=manifest, spec=spec, event=event, generator=generator),
        check=lambda reply: check_release(reply, manifest, lengths={"counts": count_layout(spec, contract).size}),
    )
