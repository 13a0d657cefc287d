"""Attacks from inside a secure sum: nobody sees a single update, so what stops them is the gate that looks at the model.

Malicious sites ignore the norm bound that honest sites enforce on themselves. They attack in two rounds in the middle of the study:
were they to attack in every round, every round would be rolled back, and the consortium would look for them by other means. What
the gate cannot see is an attack that only slows learning down, round after round, and makes no model worse than the one before.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.attacks.malice import Attack, flipped, tampered
from experiments.engines.inline import InlineTransport
from experiments.preparation import PreparedSites
from experiments.study_run import held_out_loss
from federation.data.prepared_features import PreparedFeatures
from federation.privacy.randomness import RandomStreams, seeded_streams
from federation.protocol.messages import Envelope, TrainReply, TrainRequest, read_envelope
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.agent import SiteAgent
from site_client.masked_replies import masked_reply
from site_client.site_folder import SiteFolder

ROUNDS_ATTACKED: Final = 2
BLIND: Final = frozenset({"inner_product", "little_is_enough"})
"""Attacks that need to see the honest updates, which nobody can here."""
_NO_BOUND: Final = 1e30


def attacked_rounds(rounds: int) -> tuple[int, ...]:
    """The rounds in which malicious sites attack: two in the middle of the study."""
    first = max(rounds // 2, 1)
    return tuple(range(first, min(first + ROUNDS_ATTACKED, rounds + 1)))


class MaliciousAgent(SiteAgent):
    """A site that masks something else than its update in some rounds.

    Args:
        folder: As of the honest agent.
        attack: What it does.
        streams: Of the attack.
    """

    def __init__(self, folder: SiteFolder, *, attack: Attack, streams: RandomStreams) -> None:
        super().__init__(folder)
        self._attack: Attack = attack
        self._attack_streams = streams

    def _trained(
        self, round_number: int, envelope: Envelope, start: np.ndarray, prepared: PreparedFeatures | None
    ) -> Envelope:
        truth = self._data
        if self._attack == "label_flip" and self._is_attacked(round_number):
            self._data = flipped(truth)
        try:
            return super()._trained(round_number, envelope, start, prepared)
        finally:
            self._data = truth

    def _is_attacked(self, round_number: int) -> bool:
        return round_number in attacked_rounds(self._manifest.schedule.rounds)

    def _sent(self, request: Envelope, reply: bytes) -> bytes:
        header, masked = request.header, self._manifest.aggregation.masked
        is_attack = isinstance(header, TrainRequest) and self._is_attacked(header.round_number)
        if not isinstance(header, TrainRequest) or not is_attack or self._participant is None:
            return super()._sent(request, reply)
        own = read_envelope(reply)
        assert isinstance(own.header, TrainReply)  # noqa: S101 - the agent's own answer to a request to train
        update = tampered(
            self._attack,
            own.array("update").astype(np.float64),
            honest=(),
            faulty=1,
            generator=self._attack_streams.stream(self._site, header.round_number),
        )
        lie = replace(own, arrays={**own.arrays, "update": update}).to_bytes()
        assert masked is not None  # noqa: S101 - the site takes part in secure sums
        lifted = masked.model_copy(update={"norm_bound": _NO_BOUND})
        aggregation = self._manifest.aggregation.model_copy(update={"masked": lifted})
        unbound = self._manifest.model_copy(update={"aggregation": aggregation})
        return masked_reply(lie, request, manifest=unbound, participant=self._participant)


def run_masked(
    manifest: StudyManifest,
    prepared: PreparedSites,
    *,
    attack: Attack | None,
    malicious: frozenset[str],
    patients: Mapping[str, Path],
    identities: Mapping[str, Path],
    seed: int,
    place: Path,
) -> StudyResult:
    """The study with secure aggregation and a gate, and malicious sites in it.

    Args:
        manifest: Names the sites' keys.
        prepared: The sites; their test patients are what the aggregator holds out.
        attack: ``None``: nobody attacks.
        malicious: Sites that attack.
        patients: Site to the file of its encoded patients.
        identities: Site to the file of its key.
        seed: Of the study.
        place: Folder of the bout.
    """
    streams = seeded_streams(seed, provenance=manifest.cohort.provenance).child("attack")

    def agent(site: str) -> SiteAgent:
        folder = SiteFolder.create(
            place / site, site=site, manifest=manifest, patients=patients[site], seed=seed, identity=identities[site]
        )
        if attack is None or site not in malicious:
            return SiteAgent(folder)
        return MaliciousAgent(folder, attack=attack, streams=streams)

    return run_study(
        manifest,
        InlineTransport({site: agent(site).handle for site in patients}),
        NullTracker(),
        checkpoints=CheckpointStore(place / "coordinator", study=manifest.digest),
        clock=itertools.count().__next__,
        on_round=lambda _: None,
        held_out=held_out_loss(prepared, manifest),
    )
