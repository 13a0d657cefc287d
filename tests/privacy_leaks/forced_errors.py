"""Fifty ways to fail at a site, each at its own place and with a patient's name in what is raised."""

from __future__ import annotations

import errno
import json
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import opacus
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError

from federation import errors
from federation.algorithms.scaffold import Scaffold
from federation.models.stacked.network import StackedNetwork
from federation.models.stacked.sinks import RecordGradients
from federation.privacy import clipping, discrete, noise, sampling
from federation.privacy.keystream import KeyStream
from federation.privacy.randomness import RandomStreams
from federation.privacy.renyi_filter import RenyiFilter
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.messages import Envelope
from federation.study.manifest import StudyManifest
from site_client import (
    agent,
    dp_step,
    evaluation,
    kernel_step,
    paid_evaluation,
    patient_gradients,
    release_desk,
    site_folder,
    study_replies,
    training,
)
from site_client.ledger.journal import Journal
from site_client.ledger.ledger import Ledger
from site_client.ledger.store import Store
from site_client.site_folder import SiteFolder

Made = Callable[[str], BaseException]


class _ShownError(Exception):
    """Every way of writing it down shows the name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.add_note(f"patient {name}")
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


class _HiddenError(Exception):
    def __str__(self) -> str:
        raise ValueError(*self.args)


def _validation(name: str) -> ValidationError:
    with pytest.raises(ValidationError) as failure:
        TypeAdapter(int).validate_python(name)
    return failure.value


def _unicode(name: str) -> UnicodeDecodeError:
    return UnicodeDecodeError("utf-8", name.encode("latin-1", errors="replace"), 0, 1, f"not a letter of {name}")


def _json(name: str) -> json.JSONDecodeError:
    return json.JSONDecodeError("expected a number", name, 0)


def _chained(name: str) -> RuntimeError:
    failure = RuntimeError("while reading")
    failure.__cause__ = KeyError(name)
    return failure


def _records(kind: type[errors.RecordsError]) -> Made:
    return lambda name: kind(f"expected a number, got {name}", site=name, variable=name, remedy=name, patient=name)


def _ours(kind: type[errors.CohortiumError]) -> Made:
    return lambda name: kind(f"expected nobody, got {name}", remedy=f"ask {name}", patient=name)


@dataclass
class ForcedError:
    """What is raised where.

    Args:
        place: Object whose attribute is replaced by something that raises.
        attribute: Of the place.
        made: The exception, from a name.
        evaluating: Whether it happens while a site is evaluated; otherwise while it trains.
        late: After the original was called, instead of before.
        once: The first time only, because the refusal takes the same way.
    """

    place: object
    attribute: str
    made: Made
    evaluating: bool = False
    late: bool = False
    once: bool = False
    uncovered: bool = False
    """The network is taken for one that the kernels do not cover."""
    raised: int = field(default=0, compare=False)

    def plant(self, patch: pytest.MonkeyPatch, name: str) -> None:
        """From now on it fails."""
        if self.uncovered:
            for module in (patient_gradients, training):
                patch.setattr(module, "stacked_network", lambda _: None)
        original = getattr(self.place, self.attribute)

        def failing(*arguments: object, **rest: object) -> object:
            if self.late or (self.once and self.raised):
                result = original(*arguments, **rest)
                if self.once:
                    return result
            self.raised += 1
            raise self.made(name)

        patch.setattr(self.place, self.attribute, failing)


E = ForcedError
ERRORS: dict[str, ForcedError] = {
    # messages and the agent
    "envelope does not parse": E(agent, "read_envelope", ValueError),
    "message is not UTF-8": E(agent, "read_envelope", _unicode),
    "message of another kind": E(Envelope, "array", _ours(errors.TransportError)),
    "arrays missing": E(Envelope, "named", KeyError),
    "reply cannot be written": E(Envelope, "to_bytes", SafetensorError, once=True),
    "reply too deep": E(Envelope, "to_bytes", RecursionError, once=True),
    "model does not load": E(agent, "load", _ours(errors.InvalidInputError)),
    "manifest has no such site": E(StudyManifest, "mechanism", _ours(errors.ManifestError)),
    "manifest does not validate": E(StudyManifest, "training_event", _validation),
    "streams": E(RandomStreams, "child", TypeError),
    # local training
    "training": E(agent, "train_locally", _ShownError),
    "training is out of memory": E(agent, "train_locally", MemoryError),
    "training has no error text": E(agent, "train_locally", _HiddenError),
    "several at once": E(agent, "train_locally", lambda name: ExceptionGroup(name, [KeyError(name), ValueError(name)])),
    "a cause of a cause": E(agent, "train_locally", _chained),
    "independence": E(training, "check_independence", _ours(errors.ModelRefusedError), uncovered=True),
    "sampling": E(training, "poisson_sample", IndexError),
    "sampling generator": E(sampling.np, "flatnonzero", FloatingPointError),
    "Opacus hooks": E(opacus, "GradSampleModule", NotImplementedError, uncovered=True),
    "Opacus backward": E(torch.Tensor, "backward", RuntimeError, uncovered=True),
    "losses": E(dp_step, "record_losses", _ours(errors.InternalError), uncovered=True),
    "physical batch": E(dp_step.PatientGradients, "_record_gradients", MemoryError, late=True, uncovered=True),
    "patients' rows": E(
        dp_step.PatientGradients, "_rows_of", lambda name: IndexError(f"index of {name}"), uncovered=True
    ),
    "patients' sums": E(dp_step, "clipped_sum", OverflowError, uncovered=True),
    "clipping": E(clipping, "clip", ZeroDivisionError, uncovered=True),
    "grid": E(clipping, "to_grid", ArithmeticError, uncovered=True),
    "kernels": E(StackedNetwork, "loss_gradients", NotImplementedError),
    "kernels' rows": E(kernel_step.KernelGradients, "_rows_of", lambda name: IndexError(f"index of {name}")),
    "kernels' pass": E(kernel_step.KernelGradients, "_gradients_of", MemoryError, late=True),
    "kernels' norms": E(RecordGradients, "squared_norms", OverflowError),
    "kernels' sums": E(RecordGradients, "add_weighted", RuntimeError),
    "kernels' grid": E(kernel_step, "cut_to_grid", ArithmeticError),
    "noise": E(training, "noisy_mean", AssertionError),
    "noise after the draw": E(noise, "_normal_blocks", EOFError, late=True),
    "key-stream": E(KeyStream, "words", BufferError),
    "optimiser": E(training, "_optimiser", AttributeError),
    "generator ended": E(training, "_private_gradients", StopIteration),
    "diverged": E(training, "_finite", _ours(errors.NonFiniteModelError)),
    "algorithm's correction": E(Scaffold, "correction", LookupError),
    "algorithm's end": E(Scaffold, "finish_site", NameError),
    "cohort too small": E(agent, "train_locally", _records(errors.CohortTooSmallError)),
    "implausible value": E(agent, "train_locally", _records(errors.ImplausibleValueError)),
    "unknown code": E(agent, "train_locally", _records(errors.UnknownCodeError)),
    "patient key": E(agent, "train_locally", _records(errors.PatientKeyError)),
    # the ledger, the gate and the disk
    "budget": E(RenyiFilter, "admits", _ours(errors.BudgetExhaustedError)),
    "reservation": E(Ledger, "reserve", sqlite3.IntegrityError),
    "ledger locked": E(Ledger, "reserve", _ours(errors.LedgerLockedError)),
    "ledger damaged": E(Journal, "append", _ours(errors.LedgerDamagedError)),
    "commit": E(Store, "append", sqlite3.OperationalError),
    "computed": E(Ledger, "computed", lambda name: sqlite3.DatabaseError(f"malformed: {name}")),
    "sent": E(Ledger, "sent", TimeoutError),
    "head": E(LedgerHead, "signed", PermissionError),
    "gate": E(agent, "check_release", _ours(errors.PrivacyRefusedError)),
    "disk full": E(site_folder, "write_durably", lambda name: OSError(errno.ENOSPC, name, f"/data/{name}.bin")),
    "reply cannot be kept": E(SiteFolder, "keep_reply", lambda name: FileNotFoundError(2, "gone", name)),
    "reply cannot be read": E(SiteFolder, "kept_reply", zlib.error),
    "state": E(SiteFolder, "last_state", _json),
    "hash": E(release_desk.hashlib, "sha256", lambda name: UnicodeEncodeError("ascii", name, 0, 1, name)),
    # evaluation
    "scores": E(evaluation, "scores", RuntimeError, evaluating=True),
    "prediction": E(paid_evaluation, "predict", MemoryError, evaluating=True),
    "tables": E(paid_evaluation, "exact_counts", KeyError, evaluating=True),
    "cells": E(paid_evaluation, "_cells", ValueError, evaluating=True),
    "noise of counts": E(discrete, "discrete_gaussian", InterruptedError, evaluating=True),
    "counts released": E(study_replies, "release_counts", _records(errors.RecordsError), evaluating=True),
}
