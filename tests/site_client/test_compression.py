"""What a site compresses: what it holds back is durable, repeats are byte for byte, and nothing is lost or counted twice."""

from __future__ import annotations

import numpy as np
import pytest

from federation.errors import InternalError
from federation.protocol.messages import Envelope, TrainReply, TrainRequest, read_envelope
from federation.study.compression import CompressionSpec, decompress
from site_client.agent import SiteAgent
from site_client.compression import RESIDUAL, compressed_arrays, compressed_lengths
from tests.small_study import FEATURES, manifest, private, site_folders

D = FEATURES + 1
TOP = {"kept_fraction": 0.3}
UPDATE = np.array([1, -5, 2, 3, -4], dtype=np.float32)


def ask(agent: SiteAgent, study, round_number: int) -> bytes:
    header = TrainRequest(study=study.digest, site="north", round_number=round_number)
    parameters = np.full(D, 0.1 * round_number, dtype=np.float32)
    return agent.handle(Envelope(header, {"parameters": parameters}).to_bytes())


def payload(reply: bytes) -> np.ndarray:
    envelope = read_envelope(reply)
    assert isinstance(envelope.header, TrainReply), envelope.header
    assert set(envelope.arrays) == {"payload"}
    return np.asarray(envelope.arrays["payload"], dtype=np.uint8)


def test_without_compression_nothing_changes():
    arrays, state = {"update": UPDATE}, {"control": np.ones(2)}
    assert compressed_arrays(None, arrays, earlier={}, state=state) == (arrays, state)
    assert compressed_lengths(None, {"update": 5}) == {"update": 5}


def test_what_is_held_back_is_added_to_the_state_of_the_algorithm():
    spec = CompressionSpec(kept_fraction=0.3)
    state = {"control": np.ones(2)}
    _, first = compressed_arrays(spec, {"update": UPDATE}, earlier={}, state=state)
    assert set(first) == {"control", RESIDUAL}
    assert first[RESIDUAL].tolist() == [1, 0, 2, 3, 0]
    arrays, second = compressed_arrays(spec, {"update": UPDATE}, earlier=first, state=state)
    assert decompress(arrays["payload"], spec, size=5).tolist() == [0, 0, 0, 6, -4] or second[RESIDUAL][3] == 0
    assert compressed_lengths(spec, {"update": 5}) == {"payload": len(arrays["payload"])}


def test_rounding_alone_holds_nothing_back():
    _, state = compressed_arrays(CompressionSpec(precision="float16"), {"update": UPDATE}, earlier={}, state={})
    assert state == {}


def test_anything_beside_the_update_is_refused():
    with pytest.raises(InternalError, match="nothing else"):
        compressed_arrays(
            CompressionSpec(precision="float16"), {"update": UPDATE, "algorithm/c": UPDATE}, earlier={}, state={}
        )


@pytest.mark.parametrize("privacy", [{"kind": "none"}, private()], ids=["plain", "private"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_was_sent_and_what_is_held_back_are_the_updates_of_all_rounds(tmp_path, privacy, precision):
    whole = manifest(privacy=privacy)
    study = manifest(privacy=privacy, compression=TOP | {"precision": precision})
    plain = SiteAgent(site_folders(tmp_path / "whole", whole)["north"])
    folder = site_folders(tmp_path / "compressed", study)["north"]
    agent, sent, updates = SiteAgent(folder), np.zeros(D), np.zeros(D)
    for round_number in (1, 2, 3):
        found = decompress(payload(ask(agent, study, round_number)), study.compression, size=D)
        assert np.count_nonzero(found) == 2
        sent += found
        updates += read_envelope(ask(plain, whole, round_number)).array("update")
    held = folder.last_state(4)[RESIDUAL]
    np.testing.assert_allclose(sent + held, updates, rtol=1e-5, atol=1e-6)


def test_a_repeated_round_gets_the_same_bytes_and_holds_nothing_back_twice(tmp_path):
    study = manifest(compression=TOP)
    folder = site_folders(tmp_path, study)["north"]
    first = [ask(SiteAgent(folder), study, number) for number in (1, 2)]
    held = folder.last_state(3)[RESIDUAL].tobytes()
    assert [ask(SiteAgent(folder), study, number) for number in (2, 1)] == first[::-1]
    assert folder.last_state(3)[RESIDUAL].tobytes() == held


def test_a_round_that_was_cut_off_before_its_reply_was_kept_starts_from_the_state_before_it(tmp_path):
    study = manifest(compression=TOP)
    folder = site_folders(tmp_path, study)["north"]
    first = [ask(SiteAgent(folder), study, number) for number in (1, 2)]
    (kept,) = folder.path.glob("**/train*2*")  # the state of round 2 stays, its reply is lost
    kept.unlink()
    assert ask(SiteAgent(folder), study, 2) == first[1]
