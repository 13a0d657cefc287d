"""The centre reads compressed updates as agreed, counts bytes, and takes nothing else for an update."""

from __future__ import annotations

import numpy as np
import pytest

from aggregator.rounds import collect_updates
from aggregator.traffic import ByteCounter, CountedTransport, Traffic
from aggregator.transport import SiteReply
from federation.errors import QuorumError
from federation.protocol.messages import Envelope, TrainReply
from federation.study.compression import CompressionSpec, compress, decompress
from tests.small_study import SITES, manifest

D = 40
SPECS = [
    {"precision": "float16"},
    {"precision": "bfloat16"},
    {"kept_fraction": 0.1},
    {"kept_fraction": 0.5, "precision": "float16"},
]


class Scripted:
    """A transport whose sites answer as told."""

    def __init__(self, answers):
        self.answers, self.is_closed = answers, False

    def exchange(self, requests):
        for site in requests:
            yield SiteReply(site, self.answers[site], "" if self.answers[site] else "unreachable")

    def close(self):
        self.is_closed = True


def reply(study, site, arrays) -> bytes:
    return Envelope(TrainReply(study=study.digest, site=site, round_number=1), arrays).to_bytes()


def updates() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {site: generator.standard_normal(D, dtype=np.float32) for site in SITES}


def collected(study, answers):
    return collect_updates(
        study, Scripted(answers), round_number=1, parameters=np.zeros(D, dtype=np.float32), broadcast={}
    )


def packed(update, study) -> np.ndarray:
    return compress(update, study.compression, residual=None).content


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("mode", ["plain", "open_robust"])
def test_the_fold_is_that_of_the_updates_that_the_bytes_stand_for(spec, mode):
    robust = {"byzantine": 1, "norm_bound": 50.0, "beyond_bound": "exclude", "rule": {"kind": "geometric_median"}}
    aggregation = {"quorum": 2} | ({"mode": mode, "robust": robust} if mode == "open_robust" else {})
    study, whole = manifest(compression=spec, aggregation=aggregation), manifest(aggregation=aggregation)
    read = {site: decompress(packed(update, study), study.compression, size=D) for site, update in updates().items()}
    found = collected(
        study, {site: reply(study, site, {"payload": packed(update, study)}) for site, update in updates().items()}
    )
    expected = collected(whole, {site: reply(whole, site, {"update": update}) for site, update in read.items()})
    assert found.means()["update"].tobytes() == expected.means()["update"].tobytes()


@pytest.mark.parametrize(
    "arrays",
    [
        {"update": np.ones(D, dtype=np.float32)},
        {"payload": np.zeros(3, dtype=np.uint8)},
        {"payload": np.zeros(0, dtype=np.uint8)},
        {"payload": np.full(4 + 2 * D, 255, dtype=np.uint8)},
        {"payload": np.zeros(4 + 2 * D, dtype=np.uint8), "update": np.ones(D, dtype=np.float32)},
        {"payload": np.ones(4 + 2 * D, dtype=np.float32)},
        {},
    ],
    ids=["whole", "short", "empty", "not finite", "both", "floats", "nothing"],
)
def test_a_site_that_does_not_compress_as_agreed_is_a_drop_out(arrays):
    study = manifest(compression={"precision": "float16"}, aggregation={"quorum": 2})
    answers = {site: reply(study, site, {"payload": packed(update, study)}) for site, update in updates().items()}
    fold = collected(study, answers | {"south": reply(study, "south", arrays)})
    assert fold.contributors == ["north", "west"]
    assert fold.dropouts == {"south": "TransportError"}


def test_half_a_number_that_is_not_finite_is_a_drop_out():
    study = manifest(compression={"precision": "float16"}, aggregation={"quorum": 2})
    answers = {site: reply(study, site, {"payload": packed(update, study)}) for site, update in updates().items()}
    broken = packed(updates()["south"], study).copy()
    broken[-2:] = np.array([np.inf], dtype="<f2").view(np.uint8)
    fold = collected(study, answers | {"south": reply(study, "south", {"payload": broken})})
    assert fold.dropouts == {"south": "TransportError"}


def test_compressed_bytes_where_none_were_agreed_are_a_drop_out():
    study = manifest()
    content = compress(np.ones(D, dtype=np.float32), CompressionSpec(precision="float16"), residual=None).content
    with pytest.raises(QuorumError):
        collected(study, {site: reply(study, site, {"payload": content}) for site in SITES})


def test_bytes_are_counted_as_they_are_handed_over_and_once():
    inner = Scripted({"north": b"12345", "south": None, "west": b"123"})
    counter = ByteCounter()
    counted = CountedTransport(inner, counter)
    replies = list(counted.exchange(dict.fromkeys(SITES, b"request")))
    assert [entry.content for entry in replies] == [b"12345", None, b"123"]
    assert counter.taken() == Traffic(sent=3 * len(b"request"), received=8)
    assert counter.taken() == Traffic()
    counted.close()
    assert inner.is_closed
