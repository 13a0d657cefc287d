"""All sites of a simulated study as one object: trains them in blocks, evaluates them in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aggregator.direct_rounds import Contribution, Parameters
from experiments.engines.batched.apart import clipping_by_opacus
from experiments.engines.batched.blocks import BlockPlan
from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.descent import start_descent
from experiments.engines.batched.plain import train_plainly
from experiments.engines.batched.private import Apart, clipped_sums, draw, train_privately
from experiments.engines.batched.site_states import SiteStates
from experiments.engines.batched.stacking import Stack
from federation.algorithms.build import build_algorithm
from federation.algorithms.fedavg import LocalRound, State
from federation.data.encoding import num_outputs
from federation.data.prepared_features import PreparedFeatures
from federation.errors import CohortiumError, CohortTooSmallError, InternalError, NonFiniteModelError
from federation.models.build import build_model
from federation.models.losses import scores
from federation.models.metrics import MetricSums, metric_sums
from federation.models.noisy_metrics import NoisyCounts
from federation.models.parameters import load
from federation.models.stacked.network import StackedNetwork, stacked_network
from federation.privacy.clipping import GRID_BITS
from federation.privacy.distributed import noisy_share
from federation.privacy.keystream import KeyStream
from federation.privacy.promise import NoPrivacy, PatientLevelPrivacy
from federation.privacy.randomness import RandomStreams
from federation.study.evaluation_tables import count_layout
from federation.study.manifest import StudyManifest
from site_client.paid_evaluation import release_counts
from site_client.paid_preparation import prepared_dataset, release_preparation
from site_client.patients import SiteData

_RECORDS = 4096
"""Test records that go through the network at once."""


@dataclass(frozen=True)
class Block:
    """Sites that are trained together, and their records with the features of now."""

    sites: tuple[SiteData, ...]
    stack: Stack = field(repr=False)


class BatchedSites:
    """The sites of a study, trained as one tensor program.

    Args:
        manifest: Of the study; see :func:`~experiments.engines.batched.coverage.reason_against_batching`.
        sites: In roster order.
        streams: Site to its streams, those that its agent would have.
        plan: From the study's network to how sites are divided, and where they are computed.
        folder: Where the algorithm's state of the sites is kept; ``None``: nowhere.
        resumed_from: Rounds done before; the state after them is read from ``folder``.
    """

    def __init__(
        self,
        manifest: StudyManifest,
        sites: Sequence[SiteData],
        *,
        streams: Mapping[str, RandomStreams],
        plan: Callable[[StackedNetwork], BlockPlan],
        folder: Path | None = None,
        resumed_from: int = 0,
    ) -> None:
        self._manifest, self._sites, self._streams = manifest, tuple(sites), streams
        self._algorithm = build_algorithm(manifest.algorithm)
        self._module = build_model(
            manifest.model,
            task=manifest.objective,
            num_features=len(self._sites[0].training.feature_names),
            num_outputs=num_outputs(manifest.contract, manifest.objective),
            private=isinstance(manifest.privacy, PatientLevelPrivacy),
        )
        network = stacked_network(self._module)
        if network is None:
            raise InternalError("expected a network whose layers are all covered")
        self._network: StackedNetwork = network
        self._layout = ChainLayout.of(network)
        self.plan = plan(network)
        self._prepared: PreparedFeatures | None = None
        self._blocks: list[Block] | None = None
        start = self._algorithm.start_site(network.num_parameters)
        self.states = SiteStates(folder, {site.site: start for site in self._sites}, resumed_from=resumed_from)

    def train(
        self, *, round_number: int, parameters: Parameters, broadcast: State, prepared: PreparedFeatures | None
    ) -> Iterator[tuple[str, Contribution | CohortiumError]]:
        """See :class:`~aggregator.direct_rounds.DirectSites`."""
        blocks = self._blocks_of(prepared)
        with self.plan.threads() as pool:
            work = [pool.submit(self._train_block, block, round_number, parameters, broadcast) for block in blocks]
            for block, future in zip(blocks, work, strict=True):
                rows = future.result()
                for site, row in zip(block.sites, rows, strict=True):
                    yield (
                        site.site,
                        self._sent(site, row, round_number=round_number, parameters=parameters, broadcast=broadcast),
                    )
        self.states.finish_round(round_number)

    def _blocks_of(self, prepared: PreparedFeatures | None) -> list[Block]:
        if self._blocks is None or prepared is not self._prepared:
            self._prepared = prepared
            self._blocks = [
                Block(
                    tuple(group),
                    Stack(
                        [prepared_dataset(site.training, prepared) for site in group],
                        device=self.plan.device,
                        with_ones=self._layout is not None and self._layout.has_ones,
                    ),
                )
                for group in self.plan.groups(self._sites)
            ]
        return self._blocks

    def _train_block(
        self, block: Block, round_number: int, parameters: Parameters, broadcast: State
    ) -> Sequence[NDArray[np.generic]]:
        """``[S, D]``: the parameters of each site after the round, or its share of a secure sum."""
        manifest = self._manifest
        if manifest.noise_share() is not None:
            return self._shares(block, round_number, parameters)
        private = isinstance(manifest.privacy, PatientLevelPrivacy)
        descent = start_descent(
            self._algorithm,
            start=torch.from_numpy(parameters).to(self.plan.device),
            received=broadcast,
            states=[self.states.of(site.site) for site in block.sites],
            schedule=manifest.schedule,
            round_number=round_number,
            layout=self._layout if block.stack.is_single or not private else None,
        )
        training = [self._streams[site.site].child("training", site.site) for site in block.sites]
        if private:
            train_privately(
                self._network,
                descent,
                block.stack,
                task=manifest.objective,
                mechanisms=[manifest.mechanism(site.site) for site in block.sites],
                streams=[streams.child("private", round_number) for streams in training],
                apart=self._apart(block),
            )
        else:
            train_plainly(
                self._network,
                descent,
                block.stack,
                task=manifest.objective,
                schedule=manifest.schedule,
                round_number=round_number,
                streams=training,
            )
        return list(descent.parameters().cpu().numpy())

    def _sent(
        self,
        site: SiteData,
        row: NDArray[np.generic],
        *,
        round_number: int,
        parameters: Parameters,
        broadcast: State,
    ) -> Contribution | CohortiumError:
        """What the site would send: as in ``SiteAgent``, its update and what the algorithm adds."""
        if site.training.num_patients == 0 and isinstance(self._manifest.privacy, NoPrivacy):
            return CohortTooSmallError("expected at least one training patient, got none")
        if self._manifest.noise_share() is not None:
            return {"sum": row.astype(np.float64)}
        if not np.isfinite(row).all():
            return NonFiniteModelError(
                f"expected finite parameters after local training in round {round_number}, got NaN or infinity",
                remedy="lower schedule.optimiser.learning_rate",
            )
        schedule = self._manifest.schedule
        local = LocalRound(
            update=row.astype(np.float64) - parameters.astype(np.float64),
            num_steps=schedule.local_steps,
            learning_rate=schedule.learning_rate_of(round_number),
        )
        sent, state = self._algorithm.finish_site(local, received=broadcast, site=self.states.of(site.site))
        self.states.keep(site.site, state)
        arrays: dict[str, NDArray[np.float32] | NDArray[np.float64]] = {"update": local.update.astype(np.float32)}
        return arrays | {f"algorithm/{name}": np.asarray(array, dtype=np.float64) for name, array in sent.items()}

    def _shares(self, block: Block, round_number: int, parameters: Parameters) -> list[NDArray[np.int64]]:
        """Each site's clipped gradients of one step with its share of the noise."""
        manifest, share = self._manifest, self._manifest.noise_share()
        if share is None:
            raise InternalError("expected a study with noise in shares")
        streams = [
            self._streams[site.site].child("training", site.site).child("distributed", round_number)
            for site in block.sites
        ]
        mechanisms = [manifest.mechanism(site.site) for site in block.sites]
        samplers = [KeyStream.from_generator(own.stream("sampling")) for own in streams]
        draws = draw(block.stack, mechanisms, samplers, num_steps=1)
        totals = clipped_sums(
            self._network,
            torch.from_numpy(parameters).to(self.plan.device).repeat(len(block.sites), 1),
            block.stack,
            places=draws.places[:, 0],
            owners=None if draws.owners is None else draws.owners[:, 0],
            task=manifest.objective,
            clipping_norm=mechanisms[0].clipping_norm,
            grid_bits=share.grid_bits,
            apart=self._apart(block, grid_bits=share.grid_bits),
        )
        return [
            noisy_share(total, mechanism=share, generator=own.stream("noise"))
            for total, own in zip(totals.cpu().numpy(), streams, strict=True)
        ]

    def _apart(self, block: Block, *, grid_bits: int = GRID_BITS) -> Apart:
        return clipping_by_opacus(
            self._module,
            [prepared_dataset(site.training, self._prepared) for site in block.sites],
            block.stack,
            task=self._manifest.objective,
            clipping_norm=self._manifest.mechanism(block.sites[0].site).clipping_norm,
            grid_bits=grid_bits,
        )

    def exact_metrics(self, *, parameters: Parameters, prepared: PreparedFeatures | None) -> Mapping[str, MetricSums]:
        """See :class:`~aggregator.direct_rounds.DirectSites`."""
        manifest = self._manifest
        tests = [prepared_dataset(site.test, prepared) for site in self._sites]
        said = self._said(parameters, np.concatenate([test.in_memory for test in tests]))
        ends = np.cumsum([test.num_records for test in tests])
        return {
            site.site: metric_sums(
                manifest.objective,
                said[end - test.num_records : end],
                test.known_outcomes,
                score_bins=manifest.evaluation.score_bins,
            )
            for site, test, end in zip(self._sites, tests, ends, strict=True)
        }

    def _said(self, parameters: Parameters, features: NDArray[np.float32]) -> NDArray[np.float32]:
        device = self.plan.device
        theta = torch.from_numpy(parameters).to(device).unsqueeze(0)
        parts = [
            scores(
                self._manifest.objective,
                self._network.outputs(theta, torch.from_numpy(features[start : start + _RECORDS])[None].to(device))[0],
            )
            for start in range(0, max(1, len(features)), _RECORDS)
        ]
        return torch.cat(parts).cpu().numpy()

    def noisy_counts(
        self, *, round_number: int, parameters: Parameters, prepared: PreparedFeatures | None
    ) -> Mapping[str, NoisyCounts]:
        """See :class:`~aggregator.direct_rounds.DirectSites`."""
        manifest, event = self._manifest, self._manifest.evaluation_event()
        if event is None:
            return {}
        load(self._module, parameters)
        found: dict[str, NoisyCounts] = {}
        for site in self._sites:
            generator = self._streams[site.site].child("evaluation", site.site).stream("noise", round_number)
            counts = release_counts(self._module, site.test, manifest=manifest, generator=generator, prepared=prepared)
            found[site.site] = NoisyCounts.from_arrays(count_layout(manifest), counts, variance=event.variance)
        return found

    def preparation_counts(self) -> Mapping[str, NDArray[np.float64]]:
        """See :class:`~aggregator.direct_rounds.DirectSites`."""
        manifest, spec = self._manifest, self._manifest.preparation
        if spec is None:
            raise InternalError("expected a study that pays for preparation")
        return {
            site.site: release_preparation(
                site.training,
                spec=spec,
                contract=manifest.contract,
                generator=self._streams[site.site].child("preparation", site.site).stream("noise"),
            )["counts"]
            for site in self._sites
        }

    def close(self) -> None:
        """See :class:`~aggregator.direct_rounds.DirectSites`."""
        self._blocks = None
