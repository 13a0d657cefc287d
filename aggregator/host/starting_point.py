"""Models of a launched study from which a later version can start, and how it does.

Of most rounds the coordinator keeps no model. It keeps the one before each site's first contribution, because that is what
is needed if the site withdraws, beside the last two. A version that starts with one begins at round 1 with new state of its
algorithm: only parameters are taken over.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import load

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.coordinator import digest_of, start_state
from aggregator.host.home_paths import HostLayout
from aggregator.host.study_place import StudyPlace
from federation.algorithms.build import build_algorithm
from federation.algorithms.fedavg import Vector
from federation.durable_files import write_durably
from federation.errors import CheckpointError, CohortiumError
from federation.governance.proposals import Proposal
from federation.governance.starting import StartingModel, check_start
from federation.study.manifest import StudyManifest

_MODEL_FILE: Final = re.compile(r"(?:round|kept)-(\d{6})\.safetensors")


class KeptCheckpoints(CheckpointStore):
    """Checkpoints that also keep the model before each site's first contribution.

    Args:
        folder: Where they are.
        study: The manifest.
        start: Parameters with which round 1 starts; ``None``: the public initial ones.
    """

    def __init__(self, folder: Path, study: StudyManifest, *, start: Vector | None = None) -> None:
        super().__init__(folder, study=study.digest)
        self._manifest, self._start = study, start

    def save(self, state: CoordinatorState) -> None:
        """Commit a round; if a site contributed for the first time, keep the model before it."""
        earlier = {site for result in state.history[:-1] for site in result.contributors}
        if len(state.history) > 1 and set(state.history[-1].contributors) - earlier:
            before = state.round_number - 1
            write_durably(self._folder / f"kept-{before:06d}.safetensors", self._model_path(before).read_bytes())
        super().save(state)

    def latest(self) -> CoordinatorState | None:
        """The last committed round; before the first, the start that was agreed on, if one was."""
        found = super().latest()
        if found is not None or self._start is None:
            return found
        state = start_state(self._manifest, build_algorithm(self._manifest.algorithm))
        if state.parameters.shape != self._start.shape:
            raise CheckpointError(
                f"expected a starting model of {len(state.parameters)} parameters, got {len(self._start)}",
                remedy="propose a version that begins anew",
            )
        return replace(state, parameters=self._start)


def study_checkpoints(layout: HostLayout, place: StudyPlace, proposal: Proposal) -> CheckpointStore:
    """The checkpoints of a study that this host coordinates.

    Raises:
        CheckpointError: If it is to start with a model that this host has not, or that is another.
    """
    start = start_of(proposal)
    is_begun = any(place.checkpoints.glob("round-*.json"))
    parameters = None if start is None or is_begun else _parameters(layout, proposal, start)
    return KeptCheckpoints(place.checkpoints, proposal.manifest, start=parameters)


def start_of(proposal: Proposal) -> StartingModel | None:
    """The model with which a proposal starts; ``None``: public initial parameters."""
    data = proposal.as_data().get("start")
    return None if data is None else StartingModel.from_data(data)


def replaced_by(layout: HostLayout, proposal: Proposal) -> StudyPlace | None:
    """The version that a proposal replaces, if it is here."""
    for path in sorted(layout.studies.glob("*/proposal.json")):
        place = StudyPlace(path.parent)
        try:
            if place.proposal().proposal.digest == proposal.supersedes:
                return place
        except CohortiumError:  # another study's file is not this one's trouble
            continue
    return None


def kept_rounds(place: StudyPlace) -> tuple[int, ...]:
    """Rounds whose model is here, in order."""
    names = (path.name for path in place.checkpoints.glob("*.safetensors"))
    return tuple(sorted({int(found[1]) for name in names if (found := _MODEL_FILE.fullmatch(name))}))


def parameters_after(place: StudyPlace, round_number: int) -> Vector:
    """Global parameters after a round, checked against the study's history.

    Raises:
        CheckpointError: If the history does not hold, or the model is not here or is another.
    """
    state = CheckpointStore(place.checkpoints, study=place.proposal().proposal.manifest.digest).latest()
    history = () if state is None else state.history
    if not 1 <= round_number <= len(history):
        raise CheckpointError(f"expected one of {len(history)} finished rounds, got round {round_number}")
    for name in (f"round-{round_number:06d}.safetensors", f"kept-{round_number:06d}.safetensors"):
        path = place.checkpoints / name
        if path.is_file():
            parameters: Vector = load(path.read_bytes())["parameters"].astype(np.float64)
            if digest_of(parameters.astype(np.float32)) == history[round_number - 1].model_digest:
                return parameters
    raise CheckpointError(
        f"expected the model after round {round_number} in {place.checkpoints}, got none that the history names",
        remedy=f"rounds whose model is kept: {list(kept_rounds(place))}; or begin anew",
    )


def _parameters(layout: HostLayout, proposal: Proposal, start: StartingModel) -> Vector:
    old = replaced_by(layout, proposal)
    if old is None:
        raise CheckpointError(
            "expected the version that is replaced at this host, since the new one starts with its model; got none",
            remedy="restore its folder under studies/, or propose a version that begins anew",
        )
    check_start(proposal.manifest, old.proposal().proposal.manifest, start)
    parameters = parameters_after(old, start.round_number)
    if digest_of(parameters.astype(np.float32)) != start.model:
        raise CheckpointError(
            f"expected the model {start.model} that was agreed on, got another after round {start.round_number}",
            remedy="the lead named another model than this host has: sign the amendment again",
        )
    return parameters
