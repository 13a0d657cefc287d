import logging
from pathlib import Path

import numpy as np
import pytest

from federation.errors import CheckpointError, PrivacyRefusedError, TestModeRefusedError
from federation.models.stacked.layers import LinearLayer
from federation.privacy.accounting import cost_of
from federation.protocol.messages import (
    Envelope,
    EvaluateReply,
    EvaluateRequest,
    Refusal,
    TrainReply,
    TrainRequest,
    read_envelope,
)
from site_client import row_order
from site_client.agent import SiteAgent
from site_client.ledger.ledger import Ledger
from tests.small_study import FEATURES, manifest, now, private, site_folders

D = FEATURES + 1


def train(study, *, site="north", round_number=1, parameters=None, **arrays):
    parameters = np.zeros(D, dtype=np.float32) if parameters is None else parameters
    header = TrainRequest(study=study.digest, site=site, round_number=round_number)
    return Envelope(header, {"parameters": parameters, **arrays}).to_bytes()


@pytest.fixture
def study():
    return manifest()


@pytest.fixture
def agent(tmp_path, study):
    return SiteAgent(site_folders(tmp_path, study)["north"])


def refused(agent, request):
    header = read_envelope(agent.handle(request)).header
    assert isinstance(header, Refusal), header
    return header.reason


def test_training_changes_the_parameters(agent, study):
    envelope = read_envelope(agent.handle(train(study)))
    assert isinstance(envelope.header, TrainReply)
    assert envelope.header.event is None
    assert envelope.array("update").shape == (D,)
    assert np.abs(envelope.array("update")).max() > 0.01


def test_a_repeated_request_gets_the_same_bytes_also_after_a_restart(tmp_path):
    study = manifest(privacy=private(), cohort={"provenance": "patients"}, evaluation={"release": "none"})
    folder = site_folders(tmp_path, study, seed=None)["north"]  # operating-system noise: training again would differ
    first = SiteAgent(folder).handle(train(study))
    assert SiteAgent(folder).handle(train(study)) == first
    assert folder.rounds_answered() == 1
    with Ledger.open(Path(folder.settings()["ledger"]), clock=now) as ledger:
        assert ledger.find(study.digest, "train/1").state == "sent"
        assert ledger.spent() == cost_of(study.training_event())


def test_where_a_place_in_a_pass_shows_no_patient_is_charged(tmp_path, monkeypatch):
    study = manifest(privacy=private(), cohort={"provenance": "patients"}, evaluation={"release": "none"})
    folder = site_folders(tmp_path, study, seed=None)["north"]
    forward = LinearLayer.forward

    def shows(self, theta, inputs):
        outputs, cache = forward(self, theta, inputs)
        outputs[:, 0] *= 1.001
        return outputs, cache

    monkeypatch.setattr(row_order, "_FOUND_ALIKE", set())
    monkeypatch.setattr(LinearLayer, "forward", shows)
    with pytest.raises(PrivacyRefusedError, match="same bits"):
        SiteAgent(folder)
    with Ledger.open(Path(folder.settings()["ledger"]), clock=now) as ledger:
        assert ledger.find(study.digest, "train/1") is None


def test_a_round_is_answered_for_one_request_only(agent, study):
    agent.handle(train(study))
    assert refused(agent, train(study, parameters=np.ones(D, dtype=np.float32))) == "CheckpointError"


def test_rounds_beyond_the_manifest_are_refused(agent, study):
    assert refused(agent, train(study, round_number=5)) == "PrivacyRefusedError"


@pytest.mark.parametrize("what", ["study", "site", "length", "nan", "kind", "bytes"])
def test_what_is_not_this_studys_request_is_refused(agent, study, what):
    request = {
        "study": lambda: train(manifest(title="Another")),
        "site": lambda: train(study, site="south"),
        "length": lambda: train(study, parameters=np.zeros(D + 1, dtype=np.float32)),
        "nan": lambda: train(study, parameters=np.full(D, np.nan, dtype=np.float32)),
        "kind": lambda: Envelope(Refusal(study=study.digest, site="north", reason="Nothing")).to_bytes(),
        "bytes": lambda: b"GET / HTTP/1.1",
    }[what]()
    assert refused(agent, request) == "TransportError"


def test_an_unforeseen_exception_leaves_only_a_class_name(agent, study, monkeypatch, caplog):
    secret = "Jane Doe 1970-01-01 HIV+"

    def explode(*args, **kwargs):
        raise ValueError(secret)

    monkeypatch.setattr("site_client.agent.train_locally", explode)
    with caplog.at_level(logging.CRITICAL, logger="cohortium.site"):
        reply = agent.handle(train(study))
    assert secret.encode() not in reply
    assert read_envelope(reply).header.reason == "InternalError"


def test_evaluation_is_additive_sums(agent, study):
    header = EvaluateRequest(study=study.digest, site="north", round_number=1)
    envelope = read_envelope(agent.handle(Envelope(header, {"parameters": np.zeros(D, dtype=np.float32)}).to_bytes()))
    assert isinstance(envelope.header, EvaluateReply)
    assert all(name.startswith("metrics/") for name in envelope.arrays)


def test_no_evaluation_leaves_where_the_manifest_releases_none(tmp_path):
    study = manifest(evaluation={"release": "none"})
    agent = SiteAgent(site_folders(tmp_path, study)["north"])
    header = EvaluateRequest(study=study.digest, site="north", round_number=1)
    request = Envelope(header, {"parameters": np.zeros(D, dtype=np.float32)}).to_bytes()
    assert refused(agent, request) == "PrivacyRefusedError"


def test_seeds_are_refused_on_real_patients(tmp_path):
    study = manifest(cohort={"provenance": "patients"})
    with pytest.raises(TestModeRefusedError):
        SiteAgent(site_folders(tmp_path, study, seed=7)["north"])


def test_private_training_reports_the_manifests_mechanism(tmp_path):
    study = manifest(privacy=private())
    agent = SiteAgent(site_folders(tmp_path, study)["north"])
    event = read_envelope(agent.handle(train(study))).header.event
    mechanism = study.mechanism("north")
    assert event.noise_multiplier == mechanism.noise_multiplier
    assert event.sampling_numerator == mechanism.sampling_numerator
    assert event.steps == mechanism.steps_per_round


def test_scaffold_keeps_its_state_across_restarts(tmp_path):
    study = manifest(algorithm={"kind": "scaffold"})
    folder = site_folders(tmp_path, study)["north"]
    control = {"algorithm/control": np.zeros(D)}
    SiteAgent(folder).handle(train(study, **control))
    again = train(study, round_number=2, **control)
    one_process = read_envelope(SiteAgent(folder).handle(again)).array("algorithm/control_change")
    assert folder.last_state(2)["control"].any()
    assert folder.last_state(1) is None
    assert one_process.any()


def test_a_folder_of_another_study_is_not_taken_over(tmp_path, study):
    site_folders(tmp_path, study)
    with pytest.raises(CheckpointError, match="another output folder"):
        site_folders(tmp_path, manifest(title="Another"))
