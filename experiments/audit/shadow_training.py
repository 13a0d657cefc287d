"""A study trained from start to end in this process, on whichever patients an attack chooses.

The local training and the server step are those of the study; sites and aggregator are called directly, without
messages, checkpoints or evaluation, because an attack trains the study dozens of times.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from aggregator.coordinator import advance, start_state
from aggregator.rounds import WeightedFold
from federation.algorithms.build import build_algorithm
from federation.algorithms.fedavg import FederatedAveraging, LocalRound, State
from federation.models.parameters import Vector, load
from federation.privacy.promise import PatientLevelPrivacy
from federation.privacy.randomness import RandomStreams
from federation.study.agreements import RosterSite
from federation.study.manifest import StudyManifest
from federation.study.network import network_of
from site_client.patients import PatientDataset
from site_client.training import train_locally


def study_network(manifest: StudyManifest, num_features: int) -> nn.Module:
    """The study's network; its parameters are loaded by whoever uses it."""
    return network_of(manifest, num_features=num_features)


def train_study(manifest: StudyManifest, patients: Mapping[str, PatientDataset], *, streams: RandomStreams) -> Vector:
    """The study's final parameters when its sites train on these patients.

    Args:
        manifest: Everything else.
        patients: Site to training patients, for every site of the roster.
        streams: Of all sites of this one training.

    Returns:
        ``[D]`` float32.

    Raises:
        NonFiniteModelError: If training diverged.
    """
    algorithm = build_algorithm(manifest.algorithm)
    state = start_state(manifest, algorithm)
    network = study_network(manifest, next(iter(patients.values())).features.shape[1])
    size = len(state.parameters)
    kept: dict[str, State] = {entry.site: algorithm.start_site(size) for entry in manifest.roster}
    for round_number in range(1, manifest.schedule.rounds + 1):
        fold, received = WeightedFold(num_parameters=size), algorithm.broadcast(state.server)
        load(network, state.parameters)
        for entry in manifest.roster:
            contribution, kept[entry.site] = _site_round(
                manifest,
                entry,
                patients[entry.site],
                algorithm=algorithm,
                network=network,
                exchanged=(state.parameters.astype(np.float32), received, kept[entry.site]),
                round_number=round_number,
                streams=streams,
            )
            fold.add(entry.site, contribution, weight=entry.weight)
        state = advance(algorithm, state, fold)
    return state.parameters.astype(np.float32)


def _site_round(
    manifest: StudyManifest,
    entry: RosterSite,
    dataset: PatientDataset,
    *,
    algorithm: FederatedAveraging,
    network: nn.Module,
    exchanged: tuple[Vector, State, State],
    round_number: int,
    streams: RandomStreams,
) -> tuple[dict[str, np.ndarray], State]:
    """What one site sends in a round, and its next own state; as ``SiteAgent`` does it."""
    start, received, own = exchanged
    training = train_locally(
        network,
        dataset,
        task=manifest.objective,
        schedule=manifest.schedule,
        round_number=round_number,
        mechanism=manifest.mechanism(entry.site) if isinstance(manifest.privacy, PatientLevelPrivacy) else None,
        streams=streams.child("training", entry.site),
        correction=algorithm.correction(start=torch.from_numpy(start), received=received, site=own),
    )
    update = training.parameters.astype(np.float64) - start.astype(np.float64)
    local = LocalRound(
        update=update,
        num_steps=training.num_steps,
        learning_rate=manifest.schedule.learning_rate_of(round_number),
    )
    sent, own = algorithm.finish_site(local, received=received, site=own)
    return {"update": update} | {f"algorithm/{name}": np.asarray(value) for name, value in sent.items()}, own
