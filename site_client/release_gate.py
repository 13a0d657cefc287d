"""The release gate: the last look at a reply before it is recorded and leaves the site.

Nothing leaves unless the manifest names it: exactly these arrays, of exactly these lengths, finite, and in a private
study only under the privacy event that was charged for it. Whatever else a bug or an attack put into a reply stays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from federation.errors import InternalError, PrivacyRefusedError
from federation.protocol.messages import Envelope, EvaluateReply, PrepareReply, TrainReply
from federation.study.manifest import StudyManifest


def check_release(reply: Envelope, manifest: StudyManifest, *, lengths: Mapping[str, int]) -> None:
    """Refuse a reply that holds anything but what was agreed.

    Args:
        reply: As it would leave.
        manifest: What was agreed.
        lengths: Name to length of every array that the reply must have.

    Raises:
        PrivacyRefusedError: If the reply's privacy event is not the manifest's, or a private study would release what
            is not paid for.
        InternalError: If an array is missing, unknown, of another length or not finite.
    """
    header = reply.header
    if isinstance(header, TrainReply):
        agreed = manifest.training_event()
    elif isinstance(header, EvaluateReply):
        agreed = manifest.evaluation_event()
    elif isinstance(header, PrepareReply):
        agreed = manifest.preparation_event()
    else:
        raise InternalError(f"expected a reply to release, got {header.kind}")
    if header.event != agreed:
        raise PrivacyRefusedError(
            f"expected a release under the manifest's privacy event ({agreed}), got one under {header.event}"
        )
    if manifest.training_event() is not None and agreed is None:
        raise PrivacyRefusedError("expected every release of a private study to be paid for, got one without noise")
    found = {name: array.shape for name, array in reply.arrays.items()}
    expected = {name: (length,) for name, length in lengths.items()}
    if found != expected:
        raise InternalError(f"expected arrays {expected} in a {header.kind}, got {found}")
    for name, array in reply.arrays.items():
        if not np.isfinite(array).all():
            raise InternalError(f"expected finite numbers in array {name!r} of a {header.kind}")
    is_whole = not isinstance(header, TrainReply) or manifest.noise_share() is not None
    if is_whole and agreed is not None:
        _check_whole(reply)


def _check_whole(reply: Envelope) -> None:
    """Paid counts are whole numbers; a fraction would be a raw loss that came along."""
    for name, array in reply.arrays.items():
        if not np.array_equal(array, np.rint(array)):
            raise InternalError(f"expected whole numbers in array {name!r} of a {reply.header.kind}, which is paid for")
