import numpy as np
import pytest

from aggregator import held_sums
from aggregator.rounds import WeightedFold, collect_updates
from aggregator.transport import SiteReply
from federation.errors import QuorumError, TransportError
from federation.privacy.events import SubsampledGaussian
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.messages import Envelope, Refusal, TrainReply, read_envelope
from federation.protocol.signatures import SigningKey
from tests.small_study import SITES, manifest, private

START = np.zeros(5, dtype=np.float32)


class Scripted:
    """A transport whose sites answer as told; `order` is the order of arrival."""

    def __init__(self, answers, order=SITES):
        self.answers, self.order, self.asked = answers, order, {}

    def exchange(self, requests):
        self.asked = {site: read_envelope(content) for site, content in requests.items()}
        for site in self.order:
            answer = self.answers[site]
            if answer is not None:
                yield answer if isinstance(answer, SiteReply) else SiteReply(site, answer)

    def close(self):
        pass


def reply(study, site, update=None, *, round_number=1, event=None, head=None, **arrays):
    arrays = {"update": np.ones(5, dtype=np.float32) if update is None else update, **arrays}
    header = TrainReply(study=study.digest, site=site, round_number=round_number, event=event, head=head)
    return Envelope(header, arrays).to_bytes()


def collect(study, answers, order=SITES):
    return collect_updates(
        study, Scripted(answers, order), round_number=1, parameters=START, broadcast={"c": np.zeros(5)}
    )


def test_fold_is_the_weighted_mean():
    study = manifest()
    answers = {site: reply(study, site, np.full(5, n, dtype=np.float32)) for n, site in enumerate(SITES)}
    fold = collect(study, answers)
    np.testing.assert_allclose(fold.means()["update"], (0 * 10 + 1 * 20 + 2 * 30) / 60)
    assert tuple(fold.contributors) == SITES


def test_order_of_arrival_does_not_change_a_bit():
    study = manifest()
    generator = np.random.default_rng(1)
    answers = {site: reply(study, site, generator.normal(size=5).astype(np.float32)) for site in SITES}
    one = collect(study, answers).means()["update"]
    other = collect(study, answers, order=SITES[::-1]).means()["update"]
    assert one.tobytes() == other.tobytes()


def test_updates_that_wait_for_each_other_give_the_same_bits(monkeypatch):
    study = manifest()
    generator = np.random.default_rng(2)
    answers = {site: reply(study, site, generator.normal(size=5).astype(np.float32)) for site in SITES}
    at_once = collect(study, answers).means()["update"]
    monkeypatch.setattr(held_sums, "_WORTH_HOLDING", 1)
    assert collect(study, answers).means()["update"].tobytes() == at_once.tobytes()


def test_what_is_read_from_a_message_is_nobody_elses():
    content = reply(manifest(), "north")
    update = read_envelope(content).arrays["update"]
    assert not np.shares_memory(update, np.frombuffer(content, dtype=np.uint8))


def test_every_site_is_asked_for_itself_with_the_broadcast():
    study = manifest()
    transport = Scripted({site: reply(study, site) for site in SITES})
    collect_updates(study, transport, round_number=1, parameters=START, broadcast={"c": np.ones(5)})
    for site, envelope in transport.asked.items():
        assert envelope.header.site == site
        assert set(envelope.arrays) == {"parameters", "algorithm/c"}


@pytest.mark.parametrize("held_from", [1, 2**19], ids=["updates wait", "updates are added at once"])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (None, "unreachable"),
        (SiteReply("south", None, "deadline"), "deadline"),
        (b"nonsense", "TransportError"),
        ("wrong length", "TransportError"),
        ("nan", "TransportError"),
        ("other round", "TransportError"),
        ("other study", "TransportError"),
        ("other site", "TransportError"),
        ("refusal", "CohortTooSmallError"),
        ("extra array", "TransportError"),
    ],
)
def test_a_bad_reply_is_a_dropout_with_a_reason(bad, reason, held_from, monkeypatch):
    monkeypatch.setattr(held_sums, "_WORTH_HOLDING", held_from)
    study = manifest(aggregation={"quorum": 2})
    made = {
        "wrong length": lambda: reply(study, "south", np.ones(1, dtype=np.float32)),
        "nan": lambda: reply(study, "south", np.array([1, 2, np.nan, 4, 5], dtype=np.float32)),
        "other round": lambda: reply(study, "south", round_number=2),
        "other study": lambda: reply(manifest(title="Another"), "south"),
        "other site": lambda: reply(study, "west"),
        "refusal": lambda: Envelope(Refusal(study=study.digest, site="south", reason="CohortTooSmallError")).to_bytes(),
        "extra array": lambda: reply(study, "south", **{"algorithm/more": np.ones(5)}),
    }
    bad = made[bad]() if isinstance(bad, str) else bad
    fold = collect(study, {"north": reply(study, "north"), "south": bad, "west": reply(study, "west")})
    assert fold.dropouts == {"south": reason}
    assert fold.contributors == ["north", "west"]
    np.testing.assert_allclose(fold.means()["update"], 1.0)


def head():
    return LedgerHead.signed(SigningKey.generate(), population="all", sequence=4, entry_hash="ab" * 32)


def test_below_the_quorum_the_study_stops_with_the_reasons():
    study = manifest()
    answers = {"north": reply(study, "north"), "south": None, "west": reply(study, "west")}
    with pytest.raises(QuorumError, match=r"at least 3 sites in round 1, got 2 \(south: unreachable\)"):
        collect(study, answers)


@pytest.mark.parametrize("event", ["none", "less noise", "more steps", "higher probability"])
def test_a_private_study_refuses_updates_of_another_mechanism(event):
    study = manifest(privacy=private(), aggregation={"quorum": 2})
    mechanism = study.mechanism("south")
    agreed = SubsampledGaussian(
        noise_multiplier=mechanism.noise_multiplier,
        sampling_numerator=mechanism.sampling_numerator,
        steps=mechanism.steps_per_round,
    )
    changed = {
        "none": None,
        "less noise": agreed.model_copy(update={"noise_multiplier": agreed.noise_multiplier * 0.99}),
        "more steps": agreed.model_copy(update={"steps": agreed.steps + 1}),
        "higher probability": agreed.model_copy(update={"sampling_numerator": agreed.sampling_numerator + 1}),
    }[event]
    answers = {site: reply(study, site, event=changed if site == "south" else agreed, head=head()) for site in SITES}
    assert collect(study, answers).dropouts == {"south": "TransportError"}


@pytest.mark.parametrize("bad", ["none", "not genuine"])
def test_a_private_study_refuses_updates_without_a_genuine_head(bad):
    study = manifest(privacy=private(), aggregation={"quorum": 2})
    wrong = None if bad == "none" else head().model_copy(update={"sequence": 5})
    answers = {
        site: reply(study, site, event=study.training_event(), head=wrong if site == "south" else head())
        for site in SITES
    }
    assert collect(study, answers).dropouts == {"south": "TransportError"}


def test_a_fold_refuses_other_names_and_changes_nothing():
    fold = WeightedFold(num_parameters=2)
    fold.add("a", {"update": np.ones(2)}, weight=1.0)
    with pytest.raises(TransportError, match="update"):
        fold.add("b", {"other": np.ones(2)}, weight=1.0)
    assert fold.contributors == ["a"]
    assert fold.total_weight == 1.0
