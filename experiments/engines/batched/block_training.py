"""The local training of one block of sites, which hangs on nothing but the study and the beginning of the round.

So it can be done in any process that holds the same records and streams, and done again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.engines.batched.apart import clipping_by_opacus
from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.descent import start_descent
from experiments.engines.batched.draws import MOST_BYTES, Draws, draw_batches, draw_patients
from experiments.engines.batched.plain import train_plainly
from experiments.engines.batched.private import Apart, clipped_sums, step_places, train_privately
from experiments.engines.batched.stacking import Stack
from federation.algorithms.fedavg import FederatedAveraging, State
from federation.data.prepared_features import PreparedFeatures
from federation.errors import InternalError
from federation.models.stacked.network import StackedNetwork
from federation.privacy.clipping import GRID_BITS
from federation.privacy.distributed import noisy_share
from federation.privacy.keystream import KeyStream
from federation.privacy.promise import MechanismSpec, PatientLevelPrivacy
from federation.privacy.randomness import RandomStreams
from federation.study.manifest import StudyManifest
from site_client.paid_preparation import prepared_dataset
from site_client.patients import SiteData

Rows = NDArray[np.float32] | NDArray[np.int64]
"""``[S, D]``: the parameters of each site after the round, or its share of a secure sum."""


@dataclass(frozen=True)
class RoundStart:
    """What the sites of a round begin with.

    Args:
        round_number: From 1.
        parameters: ``[D]``.
        broadcast: What the aggregator sends beside them.
        states: Site to what its algorithm remembers.
    """

    round_number: int
    parameters: NDArray[np.float32] = field(repr=False)
    broadcast: State = field(repr=False)
    states: Mapping[str, State] = field(repr=False)


@dataclass(frozen=True)
class Block:
    """Sites that are trained together, and their records with the features of now."""

    sites: tuple[SiteData, ...]
    stack: Stack = field(repr=False)


@dataclass(frozen=True)
class BlockTraining:
    """What all blocks of a study share.

    Args:
        manifest: Of the study.
        module: Its network; its values are overwritten.
        network: The same, for many sites at once.
        layout: Of the network, if it is a chain.
        algorithm: Of the study.
        streams: Site to its streams, those that its agent would have.
        device: Of the tensors.
        prepared: The features of now.
        bytes_ahead: For each thing that is made for several steps at once.
    """

    manifest: StudyManifest
    module: nn.Module = field(repr=False)
    network: StackedNetwork = field(repr=False)
    layout: ChainLayout | None = field(repr=False)
    algorithm: FederatedAveraging
    streams: Mapping[str, RandomStreams] = field(repr=False)
    device: torch.device
    prepared: PreparedFeatures | None = field(repr=False)
    bytes_ahead: int = MOST_BYTES

    def stacked(self, sites: Sequence[SiteData]) -> Block:
        """A block of these sites."""
        return Block(
            tuple(sites),
            Stack(
                [prepared_dataset(site.training, self.prepared) for site in sites],
                device=self.device,
                with_ones=self.layout is not None and self.layout.has_ones,
            ),
        )

    def draw(self, block: Block, round_number: int) -> Draws:
        """The records of every step of a round."""
        manifest = self.manifest
        streams = self._streams_of(block, round_number)
        if not isinstance(manifest.privacy, PatientLevelPrivacy):
            return draw_batches(block.stack, schedule=manifest.schedule, round_number=round_number, streams=streams)
        mechanisms = self._mechanisms(block)
        steps = 1 if manifest.noise_share() is not None else mechanisms[0].steps_per_round
        samplers = [KeyStream.from_streams(own, "sampling") for own in streams]
        return draw_patients(block.stack, mechanisms, samplers, num_steps=steps)

    def train(self, block: Block, start: RoundStart, draws: Draws, widths: Sequence[int]) -> Rows:
        """Train the sites of a block for a round.

        Args:
            block: The sites.
            start: Of the round.
            draws: Its records, see :meth:`draw`.
            widths: ``[K]`` places that each step gets, at least as many as are filled.
        """
        manifest = self.manifest
        if manifest.noise_share() is not None:
            return self._shares(block, start, draws, width=widths[0])
        private = isinstance(manifest.privacy, PatientLevelPrivacy)
        descent = start_descent(
            self.algorithm,
            start=torch.from_numpy(start.parameters).to(self.device),
            received=start.broadcast,
            states=[start.states[site.site] for site in block.sites],
            schedule=manifest.schedule,
            round_number=start.round_number,
            layout=self.layout if block.stack.is_single or not private else None,
        )
        if private:
            streams = self._streams_of(block, start.round_number)
            train_privately(
                self.network,
                descent,
                block.stack,
                draws,
                widths=widths,
                task=manifest.objective,
                mechanisms=self._mechanisms(block),
                noises=[KeyStream.from_streams(own, "noise") for own in streams],
                apart=self._apart(block),
                most_bytes=self.bytes_ahead,
            )
        else:
            train_plainly(
                self.network,
                descent,
                block.stack,
                draws,
                widths=widths,
                task=manifest.objective,
                most_bytes=self.bytes_ahead,
            )
        return descent.parameters().cpu().numpy()

    def _shares(self, block: Block, start: RoundStart, draws: Draws, *, width: int) -> NDArray[np.int64]:
        """Each site's clipped gradients of one step with its share of the noise."""
        share = self.manifest.noise_share()
        if share is None:
            raise InternalError("expected a study with noise in shares")
        places, owners = step_places(block.stack, draws, 0, width=width)
        totals = clipped_sums(
            self.network,
            torch.from_numpy(start.parameters).to(self.device).repeat(len(block.sites), 1),
            block.stack,
            places=places,
            owners=owners,
            task=self.manifest.objective,
            clipping_norm=self._mechanisms(block)[0].clipping_norm,
            grid_bits=share.grid_bits,
            apart=self._apart(block, grid_bits=share.grid_bits),
        )
        streams = self._streams_of(block, start.round_number)
        noisy = [
            noisy_share(total, mechanism=share, generator=own.stream("noise"))
            for total, own in zip(totals.cpu().numpy(), streams, strict=True)
        ]
        return np.stack(noisy)

    def _streams_of(self, block: Block, round_number: int) -> list[RandomStreams]:
        """Of each site's training; where it is private, those of the round."""
        training = [self.streams[site.site].child("training", site.site) for site in block.sites]
        if not isinstance(self.manifest.privacy, PatientLevelPrivacy):
            return training
        kind = "private" if self.manifest.noise_share() is None else "distributed"
        return [own.child(kind, round_number) for own in training]

    def _mechanisms(self, block: Block) -> list[MechanismSpec]:
        return [self.manifest.mechanism(site.site) for site in block.sites]

    def _apart(self, block: Block, *, grid_bits: int = GRID_BITS) -> Apart:
        return clipping_by_opacus(
            self.module,
            [prepared_dataset(site.training, self.prepared) for site in block.sites],
            block.stack,
            task=self.manifest.objective,
            clipping_norm=self.manifest.mechanism(block.sites[0].site).clipping_norm,
            grid_bits=grid_bits,
        )
