import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import TransportError
from federation.privacy.events import SubsampledGaussian
from federation.protocol.messages import (
    Envelope,
    EvaluateReply,
    Refusal,
    TrainReply,
    TrainRequest,
    read_envelope,
)

STUDY = "sha256:" + "a" * 64


def reply(**arrays):
    event = SubsampledGaussian(noise_multiplier=1.1, sampling_numerator=5, steps=3)
    return Envelope(TrainReply(study=STUDY, site="north", round_number=2, event=event), arrays)


def test_round_trip_keeps_header_and_arrays():
    sent = reply(update=np.arange(5, dtype=np.float32), extra=np.ones(5))
    got = read_envelope(sent.to_bytes())
    assert got.header == sent.header
    np.testing.assert_array_equal(got.array("update"), np.arange(5))
    assert got.arrays["extra"].dtype == np.float64


def test_same_message_gives_the_same_bytes():
    first = reply(b=np.ones(3), a=np.zeros(3), update=np.arange(3.0))
    second = reply(update=np.arange(3.0), a=np.zeros(3), b=np.ones(3))
    assert first.to_bytes() == second.to_bytes()


def test_named_takes_a_prefix_only():
    envelope = Envelope(
        EvaluateReply(study=STUDY, site="north", round_number=0), {"metrics/n": np.ones(1), "metricsx": np.ones(1)}
    )
    assert list(envelope.named("metrics")) == ["n"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    envelope = read_envelope(reply(update=np.array([1.0, bad])).to_bytes())
    with pytest.raises(TransportError, match="finite"):
        envelope.array("update")


def test_absent_array_is_named():
    with pytest.raises(TransportError, match="update"):
        reply().array("update")


def test_a_message_that_is_too_long_is_refused_unread():
    with pytest.raises(TransportError, match="at most 10 bytes"):
        read_envelope(b"x" * 11, maximum_bytes=10)


def test_matrices_and_integers_are_refused():
    for array in (np.ones((2, 2)), np.ones(2, dtype=np.int32)):
        with pytest.raises(TransportError, match="float vectors"):
            read_envelope(reply(update=array).to_bytes())


def test_a_refusal_cannot_carry_text():
    with pytest.raises(ValueError, match="reason"):
        Refusal(study=STUDY, site="north", reason="Jane Doe, born 1970")


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(content):
    with pytest.raises(TransportError):
        read_envelope(content)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_only_what_it_says(position, value):
    original = Envelope(TrainRequest(study=STUDY, site="north", round_number=1), {"parameters": np.ones(8)}).to_bytes()
    content = bytearray(original)
    content[position % len(content)] = value
    try:
        envelope = read_envelope(bytes(content))
    except TransportError:
        return
    assert set(envelope.arrays) <= {"parameters"} or bytes(content) != original
    assert len(envelope.arrays.get("parameters", np.ones(8))) <= 8
