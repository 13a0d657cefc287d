"""The record side of a site: one request in, one reply out.

The agent owns the patients. It answers only requests of the one study its folder holds, for itself, in order; it answers a repeated
request with the same bytes and trains nothing twice; and whatever goes wrong inside, only the name of an error class leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch

from federation.algorithms.build import build_algorithm
from federation.algorithms.fedavg import LocalRound
from federation.data.encoding import num_outputs
from federation.errors import (
    CohortiumError,
    InternalError,
    PrivacyRefusedError,
    TransportError,
)
from federation.models.build import build_model
from federation.models.parameters import flatten, load
from federation.privacy.independence import check_independence
from federation.privacy.promise import PatientLevelPrivacy
from federation.privacy.randomness import fresh_streams, seeded_streams
from federation.protocol.messages import (
    Envelope,
    EvaluateReply,
    EvaluateRequest,
    Refusal,
    TrainReply,
    TrainRequest,
    read_envelope,
)
from site_client.evaluation import evaluate
from site_client.site_folder import SiteFolder, read_patients
from site_client.training import train_locally

_LOG: Final = logging.getLogger("cohortium.site")


class SiteAgent:
    """Answers a study's requests with the site's patients.

    Args:
        folder: The study's folder at the site.

    Raises:
        TestModeRefusedError: If the folder has a seed and the cohort is of real patients.
        ModelRefusedError: If the study is private and the model mixes patients.
    """

    def __init__(self, folder: SiteFolder) -> None:
        settings = folder.settings()
        self._folder = folder
        self._manifest = folder.manifest()
        self._digest = self._manifest.digest
        self._site = str(settings["site"])
        self._data = read_patients(Path(str(settings["patients"])))
        seed = settings["seed"]
        self._streams = (
            fresh_streams() if seed is None else seeded_streams(int(seed), provenance=self._manifest.cohort.provenance)
        )
        self._algorithm = build_algorithm(self._manifest.algorithm)
        self._model = build_model(
            self._manifest.model,
            task=self._manifest.task,
            num_features=len(self._data.training.feature_names),
            num_outputs=num_outputs(self._manifest.contract, self._manifest.task),
            private=self._is_private,
        )
        self._num_parameters = len(flatten(self._model))
        if self._is_private:
            check_independence(self._model, (len(self._data.training.feature_names),))

    @property
    def _is_private(self) -> bool:
        return isinstance(self._manifest.privacy, PatientLevelPrivacy)

    def handle(self, request: bytes) -> bytes:
        """Answer one request. Never raises for what a request or the records can cause.

        Args:
            request: Bytes of a `TrainRequest` or `EvaluateRequest` envelope.

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
                return self._train(request, header, envelope)
            case EvaluateRequest():
                return self._evaluate(header, envelope)
            case _:
                raise TransportError(f"expected a request, got {header.kind}")

    def _parameters(self, envelope: Envelope) -> np.ndarray:
        parameters = envelope.array("parameters")
        if len(parameters) != self._num_parameters:
            raise TransportError(f"expected {self._num_parameters} parameters, got {len(parameters)}")
        return parameters.astype(np.float32)

    def _train(self, request: bytes, header: TrainRequest, envelope: Envelope) -> bytes:
        manifest, round_number = self._manifest, header.round_number
        given = self._folder.given_reply(round_number, request)
        if given is not None:
            return given
        if round_number > manifest.schedule.rounds:
            raise PrivacyRefusedError(
                f"expected at most the {manifest.schedule.rounds} rounds of the manifest, got round {round_number}"
            )
        start = self._parameters(envelope)
        received = envelope.named("algorithm")
        state = self._folder.last_state(round_number) or self._algorithm.start_site(self._num_parameters)
        load(self._model, start)
        training = train_locally(
            self._model,
            self._data.training,
            task=manifest.task,
            schedule=manifest.schedule,
            round_number=round_number,
            mechanism=manifest.mechanism(self._site) if self._is_private else None,
            streams=self._streams.child("training", self._site),
            correction=self._algorithm.correction(start=torch.from_numpy(start), received=received, site=state),
        )
        update = training.parameters.astype(np.float64) - start.astype(np.float64)
        local = LocalRound(
            update=update,
            num_steps=training.num_steps,
            learning_rate=manifest.schedule.learning_rate_of(round_number),
        )
        sent, state = self._algorithm.finish_site(local, received=received, site=state)
        if training.event is not None:
            self._folder.record_event(round_number, training.event)
        reply = Envelope(
            TrainReply(study=self._digest, site=self._site, round_number=round_number, event=training.event),
            {"update": update.astype(np.float32)} | _prefixed("algorithm", sent),
        ).to_bytes()
        self._folder.keep_state(round_number, state)
        self._folder.keep_reply(round_number, request, reply)
        return reply

    def _evaluate(self, header: EvaluateRequest, envelope: Envelope) -> bytes:
        if self._manifest.evaluation.release == "none":
            raise PrivacyRefusedError("expected no evaluation: the manifest releases none")
        load(self._model, self._parameters(envelope))
        sums = evaluate(
            self._model,
            self._data.test,
            task=self._manifest.task,
            score_bins=self._manifest.evaluation.score_bins,
        )
        return Envelope(
            EvaluateReply(study=self._digest, site=self._site, round_number=header.round_number),
            _prefixed("metrics", sums.to_arrays()),
        ).to_bytes()


def _prefixed(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}/{name}": np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
