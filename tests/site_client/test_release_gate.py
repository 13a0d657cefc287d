"""What does not leave: anything that the manifest does not name."""

import numpy as np
import pytest

from federation.errors import InternalError, PrivacyRefusedError
from federation.protocol.messages import Envelope, EvaluateReply, Refusal, TrainReply
from site_client.release_gate import check_release
from tests.small_study import manifest, private

PAID = manifest(privacy=private(steps=40), evaluation={"release": "sum", "noise": {"variance": 4000}})
PLAIN = manifest()


def train(study, arrays=None, **changes):
    header = TrainReply(
        study=study.digest, site="north", round_number=1, **({"event": study.training_event()} | changes)
    )
    return Envelope(header, {"update": np.zeros(3, dtype=np.float32)} if arrays is None else arrays)


def evaluation(study, values, **changes):
    header = EvaluateReply(
        study=study.digest, site="north", round_number=1, **({"event": study.evaluation_event()} | changes)
    )
    return Envelope(header, {"counts/a": np.asarray(values, dtype=np.float64)})


@pytest.mark.parametrize("study", [PAID, PLAIN], ids=["private", "plain"])
def test_what_was_agreed_leaves(study):
    check_release(train(study), study, lengths={"update": 3})
    check_release(evaluation(study, [1, -2]), study, lengths={"counts/a": 2})


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"update": np.zeros(2)},
        {"update": np.zeros((3, 1))},
        {"update": np.zeros(3), "loss": np.zeros(1)},
        {"updates": np.zeros(3)},
        {"update": np.array([0, np.nan, 0])},
        {"update": np.array([0, np.inf, 0])},
    ],
    ids=["nothing", "short", "another shape", "one more", "another name", "nan", "infinite"],
)
def test_other_arrays_stay(arrays):
    with pytest.raises(InternalError):
        check_release(train(PAID, arrays), PAID, lengths={"update": 3})


def test_less_noise_than_agreed_stays():
    weaker = PAID.training_event().model_copy(update={"noise_multiplier": 0.1})
    for event in (None, weaker, PAID.evaluation_event()):
        with pytest.raises(PrivacyRefusedError):
            check_release(train(PAID, event=event), PAID, lengths={"update": 3})
    with pytest.raises(PrivacyRefusedError):
        check_release(evaluation(PAID, [1, 2], event=None), PAID, lengths={"counts/a": 2})


def test_a_paid_evaluation_holds_whole_numbers_only():
    with pytest.raises(InternalError, match="whole"):
        check_release(evaluation(PAID, [1, 2.5]), PAID, lengths={"counts/a": 2})


def test_exact_sums_of_real_patients_stay():
    study = manifest(privacy=private(), cohort={"provenance": "patients"}, evaluation={"release": "none"})
    with pytest.raises(PrivacyRefusedError, match="paid"):
        check_release(evaluation(study, [1, 2]), study, lengths={"counts/a": 2})


def test_only_replies_pass():
    refusal = Envelope(Refusal(study=PAID.digest, site="north", reason="Nothing"))
    with pytest.raises(InternalError):
        check_release(refusal, PAID, lengths={})
