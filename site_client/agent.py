"""The record side of a site: one request in, one reply out.

The agent owns the patients. It answers only requests of the one study its folder holds, for itself, in order; it answers a repeated
request with the same bytes and trains nothing twice; and whatever goes wrong inside, only the name of an error class leaves.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch

from federation.algorithms.build import build_algorithm
from federation.algorithms.fedavg import State
from federation.data.prepared_features import PreparedFeatures
from federation.errors import CohortiumError, InternalError, PrivacyRefusedError, TransportError
from federation.models.parameters import flatten, load
from federation.privacy.independence import check_independence
from federation.privacy.promise import PatientLevelPrivacy
from federation.privacy.randomness import fresh_streams, seeded_streams
from federation.protocol.messages import (
    Envelope,
    EvaluateRequest,
    PrepareRequest,
    Refusal,
    SecureSumReply,
    SecureSumRequest,
    StatisticsRequest,
    TrainReply,
    TrainRequest,
    read_envelope,
)
from federation.study.evaluation_tables import expected_counts
from federation.study.network import network_of
from site_client.answer_preparation import answer_preparation
from site_client.compression import compressed_arrays, compressed_lengths
from site_client.masked_replies import masked_reply
from site_client.paid_preparation import prepared_dataset, requested_map
from site_client.patient_gradients import check_rows
from site_client.release_desk import ReleaseDesk
from site_client.release_gate import check_release
from site_client.running_time import RunningTime
from site_client.site_folder import SiteFolder, read_patients
from site_client.starting_model import CheckStart
from site_client.study_ledger import open_study_ledger
from site_client.study_replies import (
    exact_metrics,
    paid_counts_reply,
    prefixed,
    shared_step_reply,
    training_lengths,
)
from site_client.training import train_locally

_LOG: Final = logging.getLogger("cohortium.site")


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


class SiteAgent:
    """Answers a study's requests with the site's patients.

    Args:
        folder: The study's folder at the site.
        clock: The time that the ledger writes beside its entries; nothing is decided by it.
        time: How long a release may be computed.
        check_start: Raises if round 1 starts with another model than agreed; ``None``: with any, as references of a simulation do.

    Raises:
        LedgerDamagedError: If the ledger does not hold.
        TestModeRefusedError: If the folder has a seed and the cohort is of real patients.
        ModelRefusedError: If the study is private and the model mixes patients.
    """

    def __init__(
        self,
        folder: SiteFolder,
        *,
        clock: Callable[[], dt.datetime] = _now,
        time: RunningTime | None = None,
        check_start: CheckStart | None = None,
    ) -> None:
        settings = folder.settings()
        self._folder, self._check_start = folder, check_start
        self._manifest = folder.manifest()
        self._digest = self._manifest.digest
        self._site = str(settings["site"])
        self._data = read_patients(Path(str(settings["patients"])))
        seed = settings["seed"]
        self._streams = (
            fresh_streams() if seed is None else seeded_streams(int(seed), provenance=self._manifest.cohort.provenance)
        )
        self._algorithm = build_algorithm(self._manifest.algorithm)
        self._model = network_of(self._manifest, num_features=len(self._data.training.feature_names))
        self._num_parameters = len(flatten(self._model))
        self._ledger = ledger = open_study_ledger(folder, self._manifest, self._site, clock=clock)
        self._desk = ReleaseDesk(
            folder=folder, ledger=ledger if self._is_private else None, study=self._digest, time=time
        )
        self._participant = folder.participant(self._streams) if self._manifest.aggregation.masked is not None else None
        self._statistics = folder.statistics(self._manifest, self._participant, ledger, self._streams)
        if self._is_private:
            check_independence(self._model, (len(self._data.training.feature_names),))
            check_rows(
                self._model,
                self._data.training,
                task=self._manifest.objective,
                mechanism=self._manifest.mechanism(self._site),
            )

    @property
    def _is_private(self) -> bool:
        return isinstance(self._manifest.privacy, PatientLevelPrivacy)

    def handle(self, request: bytes) -> bytes:
        """Answer one request. Never raises for what a request or the records can cause.

        Args:
            request: Bytes of the envelope of a request.

        Returns:
            Bytes of the reply, or of a `Refusal` that holds an error class's name.
        """
        try:
            return self._answer(request)
        except CohortiumError as refusal:
            _LOG.warning("site %s refuses: %s", self._site, refusal)
            return self._refusal(type(refusal).__name__)
        except Exception:  # noqa: BLE001 - the wire's boundary: exception text may hold a patient value and must stay here
            _LOG.exception("site %s failed", self._site)
            return self._refusal(InternalError.__name__)

    def _refusal(self, reason: str) -> bytes:
        return Envelope(Refusal(study=self._digest, site=self._site, reason=reason)).to_bytes()

    def _answer(self, request: bytes) -> bytes:
        envelope = read_envelope(request)
        header = envelope.header
        if header.study != self._digest or header.site != self._site:
            raise TransportError(
                f"expected a request for study {self._digest} and site {self._site}, got {header.study} and {header.site}"
            )
        match header:
            case TrainRequest():
                self._desk.witness(header.witnessed)
                return self._sent(envelope, self._train(header, envelope))
            case EvaluateRequest():
                self._desk.witness(header.witnessed)
                return self._sent(envelope, self._evaluate(header, envelope))
            case PrepareRequest():
                self._desk.witness(header.witnessed)
                return self._sent(envelope, self._prepare(envelope))
            case SecureSumRequest():
                return self._secure_step(header, envelope)
            case StatisticsRequest():
                return self._statistics.answer(header, envelope)
            case _:
                raise TransportError(f"expected a request, got {header.kind}")

    def close(self) -> None:
        """Let go of the ledger's file. Whoever closes an agent asks it nothing more."""
        if self._ledger is not None:
            self._ledger.close()

    def _sent(self, request: Envelope, reply: bytes) -> bytes:
        """What leaves: the reply itself, or its masked numbers in a study with secure aggregation."""
        if self._participant is None:
            return reply
        return masked_reply(reply, request, manifest=self._manifest, participant=self._participant)

    def _secure_step(self, header: SecureSumRequest, envelope: Envelope) -> bytes:
        if self._participant is None:
            raise TransportError("expected no step of a secure sum in a study without secure aggregation")
        message = self._participant.answer(header, envelope.payload() if envelope.arrays else b"")
        return Envelope(SecureSumReply(study=self._digest, site=self._site)).with_payload(message).to_bytes()

    def _parameters(self, envelope: Envelope) -> np.ndarray:
        parameters = envelope.array("parameters")
        if len(parameters) != self._num_parameters:
            raise TransportError(f"expected {self._num_parameters} parameters, got {len(parameters)}")
        return parameters.astype(np.float32)

    def _map(self, envelope: Envelope) -> PreparedFeatures | None:
        """The public map of the features that a request carries."""
        return requested_map(
            envelope.named("preparation"),
            spec=self._manifest.preparation,
            num_features=len(self._data.training.feature_names),
        )

    def _prepare(self, envelope: Envelope) -> bytes:
        return answer_preparation(
            envelope, manifest=self._manifest, data=self._data, desk=self._desk, streams=self._streams
        )

    def _train(self, header: TrainRequest, envelope: Envelope) -> bytes:
        manifest, round_number = self._manifest, header.round_number
        if round_number > manifest.schedule.rounds:
            raise PrivacyRefusedError(
                f"expected at most the {manifest.schedule.rounds} rounds of the manifest, got round {round_number}"
            )
        start, prepared = self._parameters(envelope), self._map(envelope)
        if round_number == 1 and self._check_start is not None:
            self._check_start(self._model, start)
        event = manifest.training_event()
        received = envelope.named("algorithm")
        whole = training_lengths(manifest, self._algorithm, size=len(start), received=received, site=self._state(1))
        lengths = compressed_lengths(manifest.compression, whole)
        return self._desk.release(
            f"train/{round_number}",
            envelope,
            events=() if event is None else (event,),
            compute=lambda: self._trained(round_number, envelope, start, prepared),
            check=lambda reply: check_release(reply, manifest, lengths=lengths),
        )

    def _state(self, round_number: int) -> State:
        return self._folder.last_state(round_number) or self._algorithm.start_site(self._num_parameters)

    def _trained(
        self, round_number: int, envelope: Envelope, start: np.ndarray, prepared: PreparedFeatures | None
    ) -> Envelope:
        """Train from ``start``, and keep the algorithm's state."""
        manifest, received, state = self._manifest, envelope.named("algorithm"), self._state(round_number)
        load(self._model, start)
        share = manifest.noise_share()
        if share is not None:
            return shared_step_reply(
                self._model,
                self._data,
                manifest=manifest,
                share=share,
                round_number=round_number,
                prepared=prepared,
                streams=self._streams.child("training", self._site).child("distributed", round_number),
            )
        training = train_locally(
            self._model,
            prepared_dataset(self._data.training, prepared),
            task=manifest.objective,
            schedule=manifest.schedule,
            round_number=round_number,
            mechanism=manifest.mechanism(self._site) if self._is_private else None,
            streams=self._streams.child("training", self._site),
            correction=self._algorithm.correction(start=torch.from_numpy(start), received=received, site=state),
        )
        local = training.as_round(start, learning_rate=manifest.schedule.learning_rate_of(round_number))
        sent, after = self._algorithm.finish_site(local, received=received, site=state)
        arrays, after = compressed_arrays(
            manifest.compression,
            {"update": local.update.astype(np.float32)} | prefixed("algorithm", sent),
            earlier=state,
            state=after,
        )
        self._folder.keep_state(round_number, after)
        return Envelope(
            TrainReply(study=self._digest, site=self._site, round_number=round_number, event=training.event), arrays
        )

    def _evaluate(self, header: EvaluateRequest, envelope: Envelope) -> bytes:
        manifest, round_number = self._manifest, header.round_number
        if manifest.evaluation.release == "none":
            raise PrivacyRefusedError("expected no evaluation: the manifest releases none")
        load(self._model, self._parameters(envelope))
        prepared = self._map(envelope)
        event = manifest.evaluation_event()
        if event is None:
            reply = exact_metrics(
                self._model, self._data, manifest=manifest, round_number=round_number, prepared=prepared
            )
            check_release(reply, manifest, lengths={name: len(array) for name, array in reply.arrays.items()})
            return reply.to_bytes()
        if round_number not in manifest.evaluation_rounds():
            raise PrivacyRefusedError(
                f"expected an evaluation after one of rounds {list(manifest.evaluation_rounds())}, got {round_number}"
            )
        return self._desk.release(
            f"evaluate/{round_number}",
            envelope,
            events=(event,),
            compute=lambda: paid_counts_reply(
                self._model,
                self._data,
                manifest=manifest,
                round_number=round_number,
                prepared=prepared,
                generator=self._streams.child("evaluation", self._site).stream("noise", round_number),
            ),
            check=lambda reply: check_release(
                reply, manifest, lengths={f"counts/{name}": size for name, size in expected_counts(manifest).items()}
            ),
        )
