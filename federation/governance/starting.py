"""Where an amended study starts: with a model of the version that it replaces, instead of public initial parameters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from federation.documents import Document
from federation.errors import ManifestError
from federation.governance.audit import Digest
from federation.study.manifest import StudyManifest


class StartingModel(Document):
    """The model with which round 1 starts. It was released before, and whoever contributed to it has paid for it."""

    round_number: Annotated[int, Field(ge=1)]
    """Of the version that is replaced: its model after this round."""
    model: Digest
    """Of that model's parameters, as the replaced version's history names it."""


def check_start(new: StudyManifest, old: StudyManifest, start: StartingModel) -> None:
    """Check that a model of one version can be the start of the next.

    Args:
        new: The next version.
        old: The version that it replaces.
        start: The model.

    Raises:
        ManifestError: If the model would not fit, or would mean something else.
    """
    if start.round_number > old.schedule.rounds:
        raise ManifestError(f"start: expected one of {old.schedule.rounds} rounds, got round {start.round_number}")
    if new.preparation is not None or old.preparation is not None:
        raise ManifestError(
            "start: expected versions without paid preparation, got one with it",
            remedy="its noisy map of the features belongs to one version: begin anew",
        )
    for name in ("contract", "task", "model", "preprocessing"):
        if getattr(new, name) != getattr(old, name):
            raise ManifestError(
                f"start: expected the same {name} in both versions, got different ones",
                remedy="a model means something only for the variables and the kind of model that it was trained with: begin anew",
            )
    if (new.privacy.kind == "none") != (old.privacy.kind == "none"):
        raise ManifestError(
            "start: expected privacy in both versions or in neither, got it in one",
            remedy="a private study must not begin with a model that nothing protects: begin anew",
        )
