"""What the coordinator remembers: one checkpoint per round, written whole or not at all.

A round is committed by its JSON file, which names the digest of the safetensors file beside it and of the round before, and is
signed with the coordinator's own key; a restart continues after the last committed round. Model files of old rounds are
removed, their JSON stays: it is the study's history.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load, save

from federation.algorithms.fedavg import State, Vector
from federation.data.prepared_features import PreparedFeatures
from federation.durable_files import write_durably
from federation.errors import CheckpointError
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.signatures import SigningKey, verify
from federation.study.result import RoundResult

_KEPT_MODELS: Final = 2
_PREPARATION: Final = "preparation.json"
_KEY: Final = "coordinator.key"
_PURPOSE: Final = "checkpoint"


@dataclass(frozen=True)
class CoordinatorState:
    """Everything a restart needs.

    Args:
        round_number: Rounds complete.
        parameters: Global parameters, float64.
        server: The algorithm's state.
        rounds_contributed: By site, for its epsilon.
        history: Results of the rounds so far.
        heads: By site: the last head of its ledger, which it must still contain.
        kept_losses: The best held-out loss so far, where rounds pass a gate; empty otherwise.
    """

    round_number: int
    parameters: Vector = field(repr=False)
    server: State = field(repr=False)
    rounds_contributed: Mapping[str, int]
    history: tuple[RoundResult, ...] = ()
    heads: Mapping[str, LedgerHead] = field(default_factory=dict[str, LedgerHead])
    kept_losses: tuple[float, ...] = ()


class CheckpointStore:
    """Checkpoints of one study in one folder.

    Args:
        folder: Where they are; made if absent.
        study: Digest of the manifest.
    """

    def __init__(self, folder: Path, *, study: str) -> None:
        self._folder = folder
        self._study = study
        self._last_record: Path | None = None
        """The newest record, once it is known: a commit does not read the folder, however many rounds are in it."""
        self._model_paths: list[Path] | None = None
        """Model files in their order, once they are known."""
        self._committed = 0

    @property
    def committed(self) -> int:
        """The last committed round, as :meth:`latest` found it or this object wrote it; 0 before both."""
        return self._committed

    @property
    def secure_folder(self) -> Path:
        """Where secure sums keep what a restart needs."""
        return self._folder / "secure"

    @property
    def statistics_folder(self) -> Path:
        """Where exact statistics keep their results, and what a restart needs."""
        return self._folder / "statistics"

    def save(self, state: CoordinatorState) -> None:
        """Commit a round."""
        self.save_rounds(state, 1)

    def save_waiting(self) -> None:
        """Commit what :meth:`save` has put off: here nothing. Called when a study ends early."""

    def save_rounds(self, state: CoordinatorState, count: int) -> None:
        """Commit several rounds at once.

        Args:
            state: After the last of them.
            count: How many rounds since the last commit, at least 1.
        """
        number = state.round_number
        arrays = {"parameters": state.parameters} | {f"server/{name}": vector for name, vector in state.server.items()}
        content = save(arrays)
        write_durably(self._model_path(number), content)
        record: dict[str, Any] = {
            "study": self._study,
            "round": number,
            "model_sha256": hashlib.sha256(content).hexdigest(),
            "parent_sha256": _digest_of(self._newest_before(self._record_path(number))),
            "rounds_contributed": dict(state.rounds_contributed),
            "heads": {site: head.as_data() for site, head in state.heads.items()},
            "kept_losses": list(state.kept_losses),
        }
        if count == 1:
            record["result"] = asdict(state.history[-1])
        else:
            record["results"] = [asdict(result) for result in state.history[-count:]]
        record["signature"] = self._key(make=True).sign(_signed_bytes(record), purpose=_PURPOSE)
        write_durably(self._record_path(number), json.dumps(record, indent=1).encode())
        self._last_record, self._committed = self._record_path(number), number
        self._remove_models(number)

    def save_preparation(self, prepared: PreparedFeatures, heads: Mapping[str, LedgerHead]) -> None:
        """Commit the public map of the features, with the heads of the ledgers that paid for it."""
        content: dict[str, Any] = {
            "study": self._study,
            "prepared": prepared.as_data(),
            "heads": {site: head.as_data() for site, head in heads.items()},
        }
        content["sha256"] = _digest(content)
        write_durably(self._folder / _PREPARATION, json.dumps(content, indent=1).encode())

    def preparation(self) -> tuple[PreparedFeatures, dict[str, LedgerHead]] | None:
        """The committed map and heads, or ``None`` before preparation.

        Raises:
            CheckpointError: If they belong to another study or are damaged.
        """
        path = self._folder / _PREPARATION
        if not path.is_file():
            return None
        content = _read_json(path)
        if content.pop("sha256", None) != _digest(content) or content.get("study") != self._study:
            raise CheckpointError(
                f"expected the preparation of study {self._study} in {path} as it was written, got another's or other bytes",
                remedy="restore the folder from a copy; preparation is paid for once and is not repeated",
            )
        return (
            PreparedFeatures.from_data(content["prepared"], error=CheckpointError),
            {site: LedgerHead.from_data(head, error=CheckpointError) for site, head in content["heads"].items()},
        )

    def latest(self) -> CoordinatorState | None:
        """The last committed round, or ``None`` before the first.

        Raises:
            CheckpointError: If a checkpoint belongs to another study, is damaged, or the chain is broken.
        """
        paths = sorted(self._folder.glob("round-*.json"))
        if not paths:
            return None
        records, done, parent = [_read_json(path) for path in paths], 0, None
        for path, record in zip(paths, records, strict=True):
            done += len(_results_of(record))
            self._check(record, done, parent=_digest_of(parent))
            parent = path
        key = self._key(make=False).public_key
        for record in records:
            self._check_signature(record, int(record["round"]), public_key=key)
        last = records[-1]
        path = self._model_path(done)
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != last["model_sha256"]:
            raise CheckpointError(
                f"expected the model of round {done} in {path} as it was written, got other bytes or none",
                remedy="restore the folder from a copy, or start the study anew in another folder",
            )
        arrays: dict[str, Vector] = {name: array.astype(np.float64) for name, array in load(content).items()}
        self._committed = done
        return CoordinatorState(
            round_number=done,
            parameters=arrays.pop("parameters"),
            server={name.removeprefix("server/"): vector for name, vector in arrays.items()},
            rounds_contributed=last["rounds_contributed"],
            history=tuple(_result(result) for record in records for result in _results_of(record)),
            kept_losses=tuple(last.get("kept_losses", ())),
            heads={
                site: LedgerHead.from_data(head, error=CheckpointError) for site, head in last.get("heads", {}).items()
            },
        )

    def _check(self, record: Mapping[str, Any], number: int, *, parent: str) -> None:
        if "study" in record and record["study"] != self._study:
            raise CheckpointError(
                f"expected checkpoints of study {self._study} in {self._folder}, got one of {record['study']}",
                remedy="choose another output folder",
            )
        # Nothing of a damaged record may be there: only the signature, which is checked next, says what has to be.
        if record.get("round") != number or record.get("parent_sha256") != parent:
            raise CheckpointError(
                f"expected an unbroken chain of rounds in {self._folder}, got a break at round {number}",
                remedy="restore the folder from a copy, or start the study anew in another folder",
            )

    def _check_signature(self, record: Mapping[str, Any], number: int, *, public_key: str) -> None:
        genuine = verify(
            _signed_bytes(record),
            purpose=_PURPOSE,
            public_key=public_key,
            signature=str(record.get("signature", "")),
        )
        if not genuine:
            raise CheckpointError(
                f"expected the record of round {number} in {self._folder} with this coordinator's signature, got another",
                remedy="restore the folder from a copy, or start the study anew in another folder",
            )

    def _key(self, *, make: bool) -> SigningKey:
        """The coordinator's key; made before the first round is committed."""
        path = self._folder / _KEY
        if not path.is_file():
            if not make:
                raise CheckpointError(
                    f"expected the coordinator's key {path}, with which its checkpoints are signed, got none",
                    remedy="restore the folder as it was, or start the study anew in another folder",
                )
            write_durably(path, SigningKey.generate().to_bytes(), secret=True)
        return SigningKey.from_bytes(path.read_bytes())

    def _newest_before(self, path: Path) -> Path | None:
        """The newest record before that of a round."""
        if self._last_record is not None and self._last_record < path:
            return self._last_record
        return max((earlier for earlier in self._folder.glob("round-*.json") if earlier < path), default=None)

    def _remove_models(self, number: int) -> None:
        """Remove the models of rounds that no restart begins with."""
        if self._model_paths is None:
            self._model_paths = sorted(self._folder.glob("round-*.safetensors"))
        else:
            self._model_paths.append(self._model_path(number))
        oldest = self._model_path(number - _KEPT_MODELS + 1)
        while self._model_paths and self._model_paths[0] < oldest:
            self._model_paths.pop(0).unlink(missing_ok=True)

    def _model_path(self, number: int) -> Path:
        return self._folder / f"round-{number:06d}.safetensors"

    def _record_path(self, number: int) -> Path:
        return self._folder / f"round-{number:06d}.json"


def _signed_bytes(record: Mapping[str, Any]) -> bytes:
    """All of a record but its signature, in one spelling. What was read back is spelt as it was written."""
    content = {name: value for name, value in record.items() if name != "signature"}
    return json.dumps(content, sort_keys=True).encode()


def _digest_of(record: Path | None) -> str:
    """SHA-256 of a record's file; empty before the first."""
    return "" if record is None else hashlib.sha256(record.read_bytes()).hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {}


def _results_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rounds that a record commits; one where it does not say."""
    found = record.get("results")
    return list(found) if isinstance(found, list) and found else [record.get("result", {})]


def _result(data: Mapping[str, Any]) -> RoundResult:
    fields: dict[str, Any] = dict(data)
    fields["contributors"] = tuple(data["contributors"])
    return RoundResult(**fields)
