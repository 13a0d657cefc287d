"""Paid evaluation at the aggregator: sums, what is kept by site, and replies that are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from aggregator.evaluation import evaluate_round
from aggregator.rounds import collect_counts, collect_metrics
from aggregator.transport import SiteReply
from aggregator.witnessing import HeadKeeper
from federation.models.metrics import metric_sums
from federation.models.noisy_performance import NoisyPerformance
from federation.privacy.events import DiscreteGaussian
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.messages import Envelope, EvaluateReply, EvaluateRequest, read_envelope
from federation.protocol.signatures import SigningKey
from federation.study.evaluation_tables import expected_counts
from federation.study.manifest import StudyManifest
from tests.paid_study import paid_manifest
from tests.small_study import SITES, manifest

PARAMETERS = np.zeros(6, dtype=np.float32)
Arrays = dict[str, np.ndarray]


class Scripted:
    """Sites that answer as told; ``None``: not at all."""

    def __init__(self, answers: Mapping[str, bytes | None]) -> None:
        self.answers = answers
        self.asked: dict[str, EvaluateRequest] = {}

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        for site, content in requests.items():
            header = read_envelope(content).header
            assert isinstance(header, EvaluateRequest)
            self.asked[site] = header
            if self.answers[site] is not None:
                yield SiteReply(site, self.answers[site])

    def close(self) -> None:
        """Nothing to close."""


def _head(site: str, sequence: int = 3) -> LedgerHead:
    key = SigningKey.from_bytes(bytes([SITES.index(site)] * 32))
    return LedgerHead.signed(key, population=site, sequence=sequence, entry_hash="0" * 64)


def _tables(study: StudyManifest, value: float) -> Arrays:
    return {f"counts/{name}": np.full(length, value) for name, length in expected_counts(study).items()}


def _reply(
    study: StudyManifest,
    site: str,
    arrays: Arrays,
    *,
    event: DiscreteGaussian | None = None,
    head: LedgerHead | None = None,
    round_number: int = 2,
) -> bytes:
    header = EvaluateReply(
        study=study.digest,
        site=site,
        round_number=round_number,
        event=event or study.evaluation_event(),
        head=head or _head(site),
    )
    return Envelope(header, arrays).to_bytes()


def _collect(study: StudyManifest, answers: Mapping[str, bytes | None], keeper: HeadKeeper | None = None) -> set[str]:
    keeper = keeper or HeadKeeper({})
    return set(collect_counts(study, Scripted(answers), round_number=2, parameters=PARAMETERS, keeper=keeper))


def test_counts_of_all_sites_are_summed_with_their_noise() -> None:
    study = paid_manifest()
    answers = {site: _reply(study, site, _tables(study, 100.0 * (n + 1))) for n, site in enumerate(SITES)}
    found = evaluate_round(study, Scripted(answers), round_number=2, parameters=PARAMETERS, keeper=HeadKeeper({}))
    assert found.metrics["count"] == 20 * 600.0
    assert found.metrics["prevalence"] == 0.5
    assert set(found.metric_errors) == set(found.metrics)
    assert set(found.site_metrics) == set(found.site_metric_errors) == set(SITES)
    assert found.site_metrics["south"]["count"] == 20 * 200.0
    shown = NoisyPerformance.from_data(dict(found.paid_performance))
    assert (shown.num_sites, shown.cell_error) == (3, pytest.approx(np.sqrt(3 * 4)))
    assert shown.values() == found.metrics
    assert len(shown.subgroups) == 2 + 3 + 3


def test_a_sum_keeps_no_site() -> None:
    study = paid_manifest(subgroups=())
    study = study.model_copy(update={"evaluation": study.evaluation.model_copy(update={"release": "sum"})})
    answers = {site: _reply(study, site, _tables(study, 100.0)) for site in SITES}
    found = evaluate_round(study, Scripted(answers), round_number=2, parameters=PARAMETERS, keeper=HeadKeeper({}))
    assert found.metrics
    assert found.site_metrics == found.site_metric_errors == {}


def test_only_the_rounds_of_the_manifest_are_evaluated() -> None:
    study = paid_manifest()
    transport = Scripted(dict.fromkeys(SITES))
    found = evaluate_round(study, transport, round_number=1, parameters=PARAMETERS, keeper=HeadKeeper({}))
    assert found.metrics == {}
    assert transport.asked == {}


def test_a_site_that_does_not_answer_is_not_in_the_variance() -> None:
    study = paid_manifest(subgroups=())
    answers = {site: _reply(study, site, _tables(study, 100.0)) for site in SITES} | {"west": None}
    found = evaluate_round(study, Scripted(answers), round_number=2, parameters=PARAMETERS, keeper=HeadKeeper({}))
    assert found.paid_performance["num_sites"] == 2
    nobody = Scripted(dict.fromkeys(SITES))
    found = evaluate_round(study, nobody, round_number=2, parameters=PARAMETERS, keeper=HeadKeeper({}))
    assert found.metrics == {}


def test_ledgers_are_witnessed() -> None:
    study, keeper = paid_manifest(subgroups=()), HeadKeeper({"south": _head("south", 2)})
    transport = Scripted({site: _reply(study, site, _tables(study, 1.0)) for site in SITES})
    collect_counts(study, transport, round_number=2, parameters=PARAMETERS, keeper=keeper)
    assert transport.asked["south"].witnessed == _head("south", 2)
    assert transport.asked["north"].witnessed is None
    assert keeper.heads == {site: _head(site) for site in SITES}


@pytest.mark.parametrize(
    "bad", ["missing", "extra", "loss", "short", "fraction", "exact", "less noise", "round", "head", "nonsense"]
)
def test_a_reply_that_is_not_what_was_agreed_is_left_out(bad: str) -> None:
    study = paid_manifest(subgroups=())
    tables, event = _tables(study, 5.0), study.evaluation_event()
    assert event is not None
    first = "counts/overall/negative"
    replies = {
        "missing": lambda: _reply(study, "south", {first: tables[first]}),
        "extra": lambda: _reply(study, "south", tables | {"counts/overall/more": np.zeros(10)}),
        "loss": lambda: _reply(study, "south", tables | {"metrics/log_loss": np.ones(1)}),
        "short": lambda: _reply(study, "south", tables | {first: np.zeros(9)}),
        "fraction": lambda: _reply(study, "south", tables | {first: np.full(10, 0.5)}),
        "exact": lambda: Envelope(
            EvaluateReply(study=study.digest, site="south", round_number=2, head=_head("south")), tables
        ).to_bytes(),
        "less noise": lambda: _reply(study, "south", tables, event=event.model_copy(update={"variance": 1})),
        "round": lambda: _reply(study, "south", tables, round_number=1),
        "head": lambda: _reply(study, "south", tables, head=_head("south").model_copy(update={"sequence": 9})),
        "nonsense": lambda: b"nonsense",
    }
    answers: dict[str, bytes | None] = {site: _reply(study, site, tables) for site in SITES}
    assert _collect(study, answers) == set(SITES)
    assert _collect(study, answers | {"south": replies[bad]()}) == {"north", "west"}


def test_exact_metrics_that_are_malformed_do_not_end_the_study() -> None:
    study = manifest()
    sums = metric_sums("binary", [0.2, 0.7], [0, 1], score_bins=200).to_arrays()

    def answer(site: str, arrays: Mapping[str, np.ndarray]) -> bytes:
        named = {f"metrics/{name}": np.asarray(array) for name, array in arrays.items()}
        return Envelope(EvaluateReply(study=study.digest, site=site, round_number=2), named).to_bytes()

    answers = {site: answer(site, sums) for site in SITES} | {"south": answer("south", {"loss": np.ones(1)})}
    found = collect_metrics(study, Scripted(answers), round_number=2, parameters=PARAMETERS)
    assert set(found) == {"north", "west"}


def test_a_paid_study_asks_for_no_exact_metrics() -> None:
    transport = Scripted(dict.fromkeys(SITES))
    assert collect_metrics(paid_manifest(), transport, round_number=2, parameters=PARAMETERS) == {}
    assert transport.asked == {}
