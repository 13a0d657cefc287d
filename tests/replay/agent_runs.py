"""A real agent on one data set or its neighbour: same key, same clock, same requests, so that all bytes must agree."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from federation.algorithms.build import build_algorithm
from federation.protocol.messages import Envelope, EvaluateRequest, PrepareRequest, TrainRequest, read_envelope
from federation.study.manifest import StudyManifest
from site_client.agent import SiteAgent
from site_client.ledger.key_file import key_path
from site_client.patients import PatientDataset, SiteData
from tests.replay.neighbours import compare
from tests.replay.tape import Replayer, Tape, recorded, replayed
from tests.small_study import SITES, contract, manifest, now, patients, private, site_folders

SITE = SITES[0]
ROUNDS = 2
PATIENTS, TEST_PATIENTS = 20, 12
VARIANTS = {
    "fedavg linear": {"algorithm": {"kind": "fedavg"}},
    "fedprox mlp": {"algorithm": {"kind": "fedprox", "mu": 0.2}, "model": {"kind": "mlp", "hidden": [3]}},
    "scaffold linear": {"algorithm": {"kind": "scaffold"}},
    "fedadam mlp": {
        "algorithm": {"kind": "fedadam"},
        "model": {"kind": "mlp", "hidden": [2], "normalisation": "layer"},
    },
}
PAID = {"noise": {"variance": 4000, "max_records_per_patient": 2, "subgroups": ["x3"]}, "score_bins": 10}


def study_of(variant: str, *, paid: bool) -> StudyManifest:
    """A private study; with ``paid`` evaluation, by a level of x3 too, the promise covers both."""
    terms = contract()
    if not paid:
        return manifest(privacy=private(epsilon=8.0), evaluation={"release": "none"}, **VARIANTS[variant])
    terms["variables"][3] = {"name": "x3", "kind": "binary"}
    promise = private(epsilon=8.0) | {"epsilon": 10.0}
    return manifest(privacy=promise, contract=terms, evaluation=PAID, **VARIANTS[variant])


def prepared_study(variant: str) -> StudyManifest:
    """The same, with paid preparation, which the promise covers as well."""
    promise = private(epsilon=8.0) | {"epsilon": 30.0}
    preparation = {"variance": 40, "levels": 6}
    return manifest(privacy=promise, preparation=preparation, evaluation={"release": "none"}, **VARIANTS[variant])


def requests_of(study: StudyManifest, size: int, *, evaluate: bool) -> list[bytes]:
    """Two rounds, after preparation if the study pays for it; every request is repeated once."""
    broadcast = build_algorithm(study.algorithm).start_server(size)
    requests: list[bytes] = []
    mapped: dict[str, np.ndarray] = {}
    if study.preparation is not None:
        requests += [Envelope(PrepareRequest(study=study.digest, site=SITE)).to_bytes()] * 2
        width = len(study.contract.variables)
        mapped = {"preparation/centre": np.full(width, 0.1), "preparation/spread": np.full(width, 0.5)}
        mapped["preparation/keep"] = np.ones(width)
    for number in range(1, ROUNDS + 1):
        arrays = {"parameters": np.full(size, 0.1 * number, dtype=np.float32)} | mapped
        extra = {f"algorithm/{name}": vector for name, vector in broadcast.items()}
        header = {"study": study.digest, "site": SITE, "round_number": number}
        requests += [Envelope(TrainRequest(**header), arrays | extra).to_bytes()] * 2
        if evaluate:
            requests += [Envelope(EvaluateRequest(**header), arrays).to_bytes()] * 2
    return requests


def run_of(folder: Path, study: StudyManifest, data: SiteData, *, evaluate: bool) -> Callable[[], list[bytes]]:
    """A fresh agent on ``data`` that answers every request."""

    def run() -> list[bytes]:
        entry = site_folders(folder, study, data=lambda _: data)[SITE]
        key = key_path(entry.path / "ledger.sqlite")
        key.write_bytes(bytes(range(32)))  # heads are signed: with one key they must be the same heads
        key.chmod(0o600)
        agent = SiteAgent(entry, clock=now)
        return [agent.handle(request) for request in requests_of(study, agent._num_parameters, evaluate=evaluate)]

    return run


def without(dataset: PatientDataset, patient: int) -> PatientDataset:
    return dataset.patients(np.delete(np.arange(dataset.num_patients), patient))


def replayer_of(tape: Tape, odd: int | None, *, shrinks: bool) -> Replayer:
    """``odd`` is the training patient that differs; ``None`` if it is a test patient."""
    place = np.arange(PATIENTS)
    if odd is None:
        return Replayer(tape, place=place, added=None, coin=lambda: False)
    if shrinks:
        place = np.where(place < odd, place, place - 1)
        place[odd] = -1
        return Replayer(tape, place=place, added=None, coin=lambda: False)
    coin = itertools.cycle([True, False, True])
    return Replayer(tape, place=np.delete(place, odd), added=odd, coin=lambda: next(coin))


def check(
    folder: Path,
    variant: str,
    *,
    odd: int,
    shrinks: bool,
    records: int = 1,
    paid: bool = False,
    in_test: bool = False,
    prepared: bool = False,
) -> Tape:
    """Record one site, replay its neighbour; compare all replies and everything that is kept.

    Raises:
        DivergenceError: If the neighbours can be told apart by more than the releases.
    """
    study = prepared_study(variant) if prepared else study_of(variant, paid=paid)
    generator = np.random.default_rng([odd, records])
    training = patients(generator, PATIENTS, records_each=records)
    test = patients(generator, TEST_PATIENTS, records_each=3)
    larger = SiteData(site=SITE, training=training, test=test)
    smaller = SiteData(
        site=SITE,
        training=training if in_test else without(training, odd),
        test=without(test, odd) if in_test else test,
    )
    first, second = (larger, smaller) if shrinks else (smaller, larger)
    replies, tape = recorded(run_of(folder / "first", study, first, evaluate=paid))
    replayer = replayer_of(tape, None if in_test else odd, shrinks=shrinks)
    again = replayed(run_of(folder / "second", study, second, evaluate=paid), replayer)
    kinds = {read_envelope(reply).header.kind for reply in replies}
    expected = {"evaluate_reply/1"} if paid else {"prepare_reply/1"} if prepared else set()
    assert kinds == {"train_reply/1"} | expected
    assert replies[::2] == replies[1::2], "a repeated request gets the same bytes"
    compare(replies, again)
    compare(kept(folder / "first"), kept(folder / "second"))
    return tape


def kept(folder: Path) -> dict[str, bytes]:
    """Algorithm state, replies and heads: all that shapes what leaves later."""
    site = folder / "sites" / SITE
    found = [*site.glob("state/*"), *site.glob("replies/*")]
    assert found
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in found}
