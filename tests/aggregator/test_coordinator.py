import itertools

import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.tracking import NullTracker
from experiments.engines.inline import InlineTransport
from federation.errors import NonFiniteModelError
from federation.models.build import build_model
from federation.models.parameters import load
from federation.privacy.accounting import spent
from site_client.agent import SiteAgent
from site_client.evaluation import evaluate
from tests.small_study import FEATURES, SITES, manifest, private, site_data, site_folders


class Recorder(NullTracker):
    def __init__(self):
        self.rounds = []

    def record_rounds(self, results):
        self.rounds += [result.round_number for result in results]


def run(study, folder, *, on_round=lambda result: None, tracker=None, transport=None):
    clock = itertools.count().__next__
    folders = site_folders(folder, study)
    transport = transport or InlineTransport({site: SiteAgent(entry).handle for site, entry in folders.items()})
    return run_study(
        study,
        transport,
        tracker or NullTracker(),
        checkpoints=CheckpointStore(folder / "coordinator", study=study.digest),
        clock=clock,
        on_round=on_round,
    )


def exact_auroc(study, parameters):
    """What a test may see and a private study does not release."""
    model = build_model(study.model, task=study.task, num_features=FEATURES, num_outputs=1, private=False)
    load(model, parameters)
    sums = [evaluate(model, site_data(site).test, task=study.task, score_bins=200) for site in SITES]
    return (sums[0] + sums[1] + sums[2]).derive()["auroc"]


ALGORITHMS = [
    {"kind": "fedavg"}, {"kind": "fedprox", "mu": 0.5}, {"kind": "scaffold"},
    {"kind": "fedavgm"}, {"kind": "fedadagrad"}, {"kind": "fedadam"}, {"kind": "fedyogi"},
]  # fmt: skip


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda spec: spec["kind"])
@pytest.mark.parametrize("privacy", ["none", "patient_level"])
def test_every_algorithm_learns(tmp_path, algorithm, privacy):
    chosen = private(epsilon=50.0, steps=24) if privacy == "patient_level" else {"kind": "none"}
    schedule = {"rounds": 8, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}
    study = manifest(algorithm=algorithm, schedule=schedule, privacy=chosen)
    result = run(study, tmp_path)
    assert len(result.rounds) == 8
    if privacy == "none":
        assert set(result.rounds[0].site_metrics) == {"north", "south", "west"}
        assert result.rounds[-1].metrics["auroc"] > 0.75
    else:
        assert all(not entry.metrics and not entry.site_metrics for entry in result.rounds)
    assert exact_auroc(study, result.parameters) > 0.75


def test_algorithms_differ(tmp_path):
    digests = set()
    for spec in ALGORITHMS:
        study = manifest(algorithm=spec)
        digests.add(run(study, tmp_path / spec["kind"]).rounds[-1].model_digest)
    assert len(digests) == len(ALGORITHMS)


@pytest.mark.parametrize("algorithm", [{"kind": "scaffold"}, {"kind": "fedadam"}], ids=lambda spec: spec["kind"])
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_study_continues_bit_for_bit(tmp_path, algorithm, stop_after):
    study = manifest(algorithm=algorithm, privacy=private())
    undisturbed = run(study, tmp_path / "whole")

    def interrupt(result):
        if result.round_number == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "broken", on_round=interrupt)
    tracker = Recorder()
    resumed = run(study, tmp_path / "broken", tracker=tracker)
    assert resumed.resumed_from == stop_after
    assert resumed.parameters.tobytes() == undisturbed.parameters.tobytes()
    assert [result.model_digest for result in resumed.rounds] == [r.model_digest for r in undisturbed.rounds]
    assert tracker.rounds == [1, 2, 3, 4]  # rounds committed before the stop are offered to the tracker again


def test_epsilon_is_of_all_rounds_together(tmp_path):
    study = manifest(privacy=private(epsilon=3.0))
    rounds = run(study, tmp_path).rounds
    values = [result.epsilon_spent["south"] for result in rounds]
    assert values == sorted(values)
    assert values[-1] <= 3.0
    assert values[-1] == pytest.approx(spent(study.mechanism("south"), rounds_done=4, delta=1e-3).epsilon)
    assert values[-1] > 2.9


def test_a_site_that_misses_a_round_spends_less(tmp_path):
    study = manifest(privacy=private(epsilon=3.0), aggregation={"quorum": 2})
    folders = site_folders(tmp_path, study)
    agents = {site: SiteAgent(entry).handle for site, entry in folders.items()}
    whole, without = InlineTransport(agents), InlineTransport({k: v for k, v in agents.items() if k != "west"})

    class Flaky:
        calls = 0

        def exchange(self, requests):
            self.calls += 1
            yield from (without if self.calls <= 2 else whole).exchange(requests)

        def close(self):
            pass

    last = run(study, tmp_path, transport=Flaky()).rounds[-1]
    assert last.epsilon_spent["west"] < last.epsilon_spent["north"]
    assert "west" in last.contributors


def test_nothing_is_evaluated_where_nothing_is_released(tmp_path):
    rounds = run(manifest(evaluation={"release": "none"}), tmp_path).rounds
    assert all(result.metrics == {} and result.site_metrics == {} for result in rounds)


def test_sum_hides_the_sites(tmp_path):
    rounds = run(manifest(evaluation={"release": "sum"}), tmp_path).rounds
    assert rounds[-1].metrics["auroc"] > 0.5
    assert rounds[-1].site_metrics == {}


def test_evaluation_follows_the_schedule(tmp_path):
    schedule = {"rounds": 5, "local_steps": 1, "optimiser": {"learning_rate": 0.1}, "evaluate_every": 3}
    rounds = run(manifest(schedule=schedule), tmp_path).rounds
    assert [bool(result.metrics) for result in rounds] == [False, False, True, False, True]


def test_divergence_stops_the_study_and_keeps_the_last_good_round(tmp_path):
    algorithm = {"kind": "fedavg", "server_learning_rate": 1e41}
    study = manifest(algorithm=algorithm)
    with pytest.raises(NonFiniteModelError, match="learning_rate"):
        run(study, tmp_path)
    latest = CheckpointStore(tmp_path / "coordinator", study=study.digest).latest()
    assert latest is None or np.isfinite(latest.parameters).all()
