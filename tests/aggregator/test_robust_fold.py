import numpy as np
import pytest

from aggregator.checkpoints import CheckpointStore, CoordinatorState
from aggregator.coordinator import advance, start_state
from aggregator.rounds import collect_updates
from federation.algorithms.build import build_algorithm
from federation.errors import QuorumError
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.signatures import SigningKey
from federation.study.result import RoundResult
from tests.aggregator.robust_study import LENGTH, SITES, Answers, collect, honest, reply, robust_manifest
from tests.small_study import manifest, private

RULES = [
    {"kind": "trimmed_mean"},
    {"kind": "median"},
    {"kind": "krum"},
    {"kind": "geometric_median"},
    {"kind": "fltrust", "root": "site-3"},
]
MALFORMED = [
    (np.full(LENGTH, np.nan, dtype=np.float32), "sent 5 numbers that are not finite"),
    (np.array([0, 1, np.inf, 0, 0], dtype=np.float32), "sent 1 numbers that are not finite"),
    (np.full(LENGTH, 1e30, dtype=np.float32), "norm 2.24e+30 is above the bound of 10"),
    (np.ones(LENGTH - 1, dtype=np.float32), "sent 4 numbers instead of 5"),
    (np.ones(0, dtype=np.float32), "sent 0 numbers instead of 5"),
    (np.ones(LENGTH, dtype=np.float64), "sent float64 instead of float32"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["kind"])
@pytest.mark.parametrize(("lie", "reason"), MALFORMED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_malformed_update_is_left_out_with_its_reason_and_the_round_goes_on(rule, lie, reason):
    fold = collect(robust_manifest(rule), {"site-1": lie})
    update = fold.means()["update"]
    assert fold.exclusions["site-1"] == reason
    assert fold.dropouts == {}
    assert set(fold.contributors).isdisjoint(fold.exclusions)
    assert set(fold.contributors) | set(fold.exclusions) == set(SITES)
    assert ((update >= 1.0 - 1e-9) & (update <= 1.75 + 1e-9)).all()


def test_an_update_of_two_dimensions_is_no_message_and_a_dropout():
    fold = collect(robust_manifest(), {"site-1": np.ones((LENGTH, 1), dtype=np.float32)})
    assert fold.dropouts == {"site-1": "TransportError"}


def test_more_arrays_than_an_update_are_left_out_and_their_names_shown_nowhere():
    study = robust_manifest()
    contents = {site: reply(study, site, honest(n)) for n, site in enumerate(SITES)}
    contents["site-2"] = reply(study, "site-2", honest(2), **{"<script>": honest(2)})
    parameters = np.zeros(LENGTH, dtype=np.float32)
    fold = collect_updates(study, Answers(contents), round_number=1, parameters=parameters, broadcast={})
    assert fold.exclusions == {"site-2": "sent 2 arrays instead of one update"}


def test_a_long_update_is_shortened_where_the_study_says_so():
    study = robust_manifest(byzantine=0, quorum=7, norm_bound=4.0, beyond_bound="clip")
    lie = np.full(LENGTH, -1e30, dtype=np.float32)
    fold = collect(study, {"site-0": lie})
    assert fold.exclusions == {}
    values, weights = [-4.0 / np.sqrt(LENGTH), *(honest(n)[0] for n in range(1, 7))], np.arange(1.0, 8.0)
    np.testing.assert_allclose(fold.means()["update"], np.average(values, weights=weights), rtol=1e-6)


def test_the_result_of_a_round_is_asked_for_as_often_as_one_likes():
    fold = collect(robust_manifest({"kind": "krum"}), {})
    first, left_out = fold.means()["update"].tobytes(), dict(fold.exclusions)
    assert fold.means()["update"].tobytes() == first
    assert fold.exclusions == left_out
    assert len(fold.contributors) == 7 - 2 - 2


def test_the_full_number_of_faulty_sites_is_assumed_while_enough_updates_are_left():
    study = robust_manifest()
    assert collect(study, {}).faulty() == 2
    one_out = collect(study, {"site-0": np.full(LENGTH, np.nan, dtype=np.float32)})
    assert one_out.faulty() == 2  # six updates bear two faulty ones
    krum = robust_manifest({"kind": "krum"})
    one_out = collect(krum, {"site-0": np.full(LENGTH, np.nan, dtype=np.float32)})
    assert one_out.faulty() == 1  # six updates bear one; the other was found out


def test_too_few_updates_for_the_faulty_ones_among_them_stop_the_study():
    study = robust_manifest({"kind": "krum"})
    fold = collect(study, {"site-0": None})
    with pytest.raises(QuorumError, match=r"at least 7 sites for krum with 2 faulty ones, got 6 \(site-0: deadline\)"):
        fold.means()


def test_a_round_without_the_trusted_root_stops_the_study():
    study = robust_manifest({"kind": "fltrust", "root": "site-3"})
    fold = collect(study, {"site-3": np.full(LENGTH, np.nan, dtype=np.float32)})
    with pytest.raises(QuorumError, match="site-3 among them"):
        fold.means()


def test_below_the_quorum_the_study_stops_with_the_reasons_of_the_excluded():
    nan = np.full(LENGTH, np.nan, dtype=np.float32)
    with pytest.raises(QuorumError, match=r"got 4 .*site-0: sent 5 numbers that are not finite"):
        collect(robust_manifest(), {"site-0": nan, "site-1": nan, "site-2": nan})


@pytest.mark.parametrize(
    "algorithm", [{"kind": "fedavg"}, {"kind": "fedadam"}, {"kind": "fedavgm"}, {"kind": "fedprox"}]
)
def test_a_rule_takes_the_place_of_the_mean_in_every_server_step(algorithm):
    robust, plain = robust_manifest(algorithm=algorithm, byzantine=0, quorum=7), manifest(algorithm=algorithm)
    plain = plain.model_copy(update={"roster": robust.roster})
    after = [
        advance(
            build_algorithm(study.algorithm), start_state(study, build_algorithm(study.algorithm)), collect(study, {})
        )
        for study in (robust, plain)
    ]
    np.testing.assert_allclose(after[0].parameters, after[1].parameters, rtol=1e-6)
    assert after[0].parameters.any()


def _head():
    return LedgerHead.signed(SigningKey.generate(), population="all", sequence=4, entry_hash="ab" * 32)


def test_an_update_that_is_not_used_was_released_and_is_paid_for():
    study = robust_manifest(privacy=private())
    nan = np.full(LENGTH, np.nan, dtype=np.float32)
    event = study.training_event()
    contents = {
        site: reply(study, site, nan if site == "site-0" else honest(n), event=event, head=_head())
        for n, site in enumerate(SITES)
    }
    contents["site-1"] = None
    parameters = np.zeros(LENGTH, dtype=np.float32)
    fold = collect_updates(study, Answers(contents), round_number=1, parameters=parameters, broadcast={})
    state = advance(build_algorithm(study.algorithm), start_state(study, build_algorithm(study.algorithm)), fold)
    assert state.rounds_contributed == dict.fromkeys(SITES, 1) | {"site-1": 0}


def test_who_was_left_out_and_why_survives_a_checkpoint(tmp_path):
    result = RoundResult(
        round_number=1,
        contributors=("site-1",),
        dropouts={},
        metrics={},
        site_metrics={},
        epsilon_spent={},
        update_norm=1.0,
        model_digest="sha256:0",
        seconds=0.0,
        exclusions={"site-0": "norm 2.24e+30 is above the bound of 10"},
    )
    store = CheckpointStore(tmp_path, study="sha256:1")
    store.save(
        CoordinatorState(round_number=1, parameters=np.zeros(3), server={}, rounds_contributed={}, history=(result,))
    )
    latest = store.latest()
    assert latest is not None
    assert latest.history == (result,)
