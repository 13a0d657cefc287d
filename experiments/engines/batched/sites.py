"""All sites of a simulated study as one object: trains them in blocks, evaluates them in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aggregator.direct_rounds import Contribution, Parameters
from experiments.engines.batched.block_training import BlockTraining, RoundStart
from experiments.engines.batched.blocks import BlockPlan, torch_on_one_core
from experiments.engines.batched.chains import ChainLayout
from experiments.engines.batched.crew import Crew, start_crew
from experiments.engines.batched.draws import WHOLE_VECTORS
from experiments.engines.batched.site_states import SiteStates
from federation.algorithms.build import build_algorithm
from federation.algorithms.fedavg import LocalRound, State
from federation.data.prepared_features import PreparedFeatures
from federation.errors import CohortiumError, CohortTooSmallError, InternalError, NonFiniteModelError
from federation.models.losses import scores
from federation.models.metrics import MetricSums, metric_sums
from federation.models.noisy_metrics import NoisyCounts
from federation.models.parameters import load
from federation.models.stacked.memory import fitting_records, record_bytes
from federation.models.stacked.network import StackedNetwork, stacked_network
from federation.privacy.promise import NoPrivacy
from federation.privacy.randomness import RandomStreams
from federation.study.evaluation_tables import count_layout
from federation.study.manifest import StudyManifest
from federation.study.network import network_of
from site_client.paid_evaluation import release_counts
from site_client.paid_preparation import prepared_dataset, release_preparation
from site_client.patients import SiteData

_RECORDS = 4096
_PASS_BYTES = 64 * 2**20
"""Test records that go through the network at once, and what they may take."""


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
        self._module = network_of(manifest, num_features=len(self._sites[0].training.feature_names))
        network = stacked_network(self._module)
        if network is None:
            raise InternalError("expected a network whose layers are all covered")
        self._network: StackedNetwork = network
        self._layout = ChainLayout.of(network)
        self.plan = plan(network)
        self._prepared: PreparedFeatures | None = None
        self._crew: Crew | None = None
        self._next_round = 0
        start = self._algorithm.start_site(network.num_parameters)
        self.states = SiteStates(folder, {site.site: start for site in self._sites}, resumed_from=resumed_from)

    def train(
        self, *, round_number: int, parameters: Parameters, broadcast: State, prepared: PreparedFeatures | None
    ) -> Iterator[tuple[str, Contribution | CohortiumError]]:
        """See :class:`~aggregator.direct_rounds.DirectSites`."""
        crew = self._crew_of(prepared, round_number)
        self.states.begin_round()
        start = RoundStart(
            round_number, parameters, broadcast, {site.site: self.states.of(site.site) for site in self._sites}
        )
        with torch_on_one_core(), ExitStack() as unless_done:
            unless_done.callback(self.close)  # what workers still have to say would be taken for the next round's
            for sites, rows in zip(self.plan.groups(self._sites), crew.train(start), strict=True):
                for site, row in zip(sites, rows, strict=True):
                    yield site.site, self._sent(site, row, start)
            unless_done.pop_all()
        self.states.finish_round(round_number)

    def _crew_of(self, prepared: PreparedFeatures | None, round_number: int) -> Crew:
        """Made anew where the features change, or the rounds do not follow one another."""
        is_next, self._next_round = round_number == self._next_round, round_number + 1
        if self._crew is None or not is_next or prepared is not self._prepared:
            self.close()
            self._prepared = prepared
            training = BlockTraining(
                manifest=self._manifest,
                module=self._module,
                network=self._network,
                layout=self._layout,
                algorithm=self._algorithm,
                streams=self._streams,
                device=self.plan.device,
                prepared=prepared,
                bytes_ahead=self.plan.bytes_ahead,
            )
            self._crew = start_crew(training, self.plan, self._sites, first_round=round_number)
        return self._crew

    def _sent(self, site: SiteData, row: NDArray[np.generic], start: RoundStart) -> Contribution | CohortiumError:
        """What the site would send: as in ``SiteAgent``, its update and what the algorithm adds."""
        if site.training.num_patients == 0 and isinstance(self._manifest.privacy, NoPrivacy):
            return CohortTooSmallError("expected at least one training patient, got none")
        if self._manifest.noise_share() is not None:
            return {"sum": row.astype(np.float64)}
        if not np.isfinite(row).all():
            return NonFiniteModelError(
                f"expected finite parameters after local training in round {start.round_number}, got NaN or infinity",
                remedy="lower schedule.optimiser.learning_rate",
            )
        schedule = self._manifest.schedule
        local = LocalRound(
            update=row.astype(np.float64) - start.parameters.astype(np.float64),
            num_steps=schedule.local_steps,
            learning_rate=schedule.learning_rate_of(start.round_number),
        )
        sent, state = self._algorithm.finish_site(local, received=start.broadcast, site=start.states[site.site])
        self.states.keep(site.site, state)
        arrays: dict[str, NDArray[np.float32] | NDArray[np.float64]] = {"update": local.update.astype(np.float32)}
        return arrays | {f"algorithm/{name}": np.asarray(array, dtype=np.float64) for name, array in sent.items()}

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
        each = record_bytes(self._network, features.shape[1], unfolds=device.type != "cpu").forward
        length = min(
            _RECORDS, max(WHOLE_VECTORS, fitting_records(_PASS_BYTES, each=each) // WHOLE_VECTORS * WHOLE_VECTORS)
        )
        parts = [
            scores(
                self._manifest.objective,
                self._network.outputs(theta, torch.from_numpy(features[start : start + length])[None].to(device))[0],
            )
            for start in range(0, max(1, len(features)), length)
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
        if self._crew is not None:
            self._crew.close()
        self._crew = None
