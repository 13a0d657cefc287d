"""Statistics with noise in a launched study: agreed, charged once to the ledger, answered once, and nothing beyond."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from experiments.analyse_plans import agree
from experiments.analyse_settings import read_settings
from federation.errors import ManifestError, QuorumError
from federation.privacy.accounting import epsilon_of_cost
from federation.privacy.randomness import fresh_streams
from federation.protocol.messages import Envelope, Refusal, StatisticsRequest, read_envelope
from federation.statistics.private_step import PrivateStep
from federation.statistics.requests import StepRequest
from federation.study.manifest import StudyManifest
from federation.study.patient_costs import whole_epsilon
from site_client.agent import SiteAgent
from site_client.ledger.ledger import Ledger
from site_client.policy_check import check
from site_client.what_leaves import what_leaves
from tests.masked_study import Lossy, run
from tests.site_client.test_policy import policy
from tests.small_proposal import proposal, roster
from tests.statistics_bench import CONTRACT
from tests.statistics_study import PATIENTS, SITES, agents, statistics_manifest

WORDS = {
    "wards": ["analysis=crosstab", "rows=ward", "columns=died"],
    "deaths": ["analysis=glm", "formula=died ~ age + male", "privacy.iterations=3"],
}


def agreed(name: str, *words: str, shares: int = 2) -> dict[str, object]:
    settings, _ = read_settings([*WORDS[name], "privacy.epsilon=20", *words])
    return agree(settings, CONTRACT, name=name, shares=shares).as_data()


def private_study(folder: Path, *names: str, **spec: object) -> StudyManifest:
    return statistics_manifest(folder, spec={"analyses": [agreed(name) for name in names], **spec})


def charged(folder: Path, site: str) -> list[str]:
    """Releases in a site's ledger, in the order of their charges."""
    path = folder / "sites" / site / "ledger.sqlite"
    with Ledger.open(path, clock=lambda: dt.datetime.now(dt.UTC)) as ledger:
        assert ledger.verify()
        entries = [json.loads(row.body) for row in ledger.entries()]
        return [entry["release"] for entry in entries if "release" in entry]


def spent(folder: Path, site: str) -> float:
    path = folder / "sites" / site / "ledger.sqlite"
    with Ledger.open(path, clock=lambda: dt.datetime.now(dt.UTC)) as ledger:
        return epsilon_of_cost(ledger.spent(), delta=1e-5)


ALL = ["statistics/wards/1", "statistics/deaths/1", "statistics/deaths/2", "statistics/deaths/3"]


def test_each_release_is_charged_once_and_the_study_has_its_result(tmp_path: Path) -> None:
    study = private_study(tmp_path, "wards", "deaths")
    result = run(study, tmp_path, Lossy(agents(tmp_path, study)))
    for analysis, releases in zip(result.analyses, (1, 3), strict=True):
        assert analysis.result is not None, analysis.reason
        assert analysis.result.sites == SITES
        assert analysis.result.privacy.releases == analysis.result.steps == releases
        assert abs(analysis.result.patients - PATIENTS) < 60
    for site in SITES:
        assert charged(tmp_path, site) == ALL
        assert spent(tmp_path, site) == pytest.approx(whole_epsilon(study), rel=1e-9)


def test_a_restart_goes_on_and_charges_nothing_twice(tmp_path: Path) -> None:
    study = private_study(tmp_path, "wards", "deaths")

    def dies(_: str, request: Envelope) -> bool:
        return isinstance(request.header, StatisticsRequest) and request.header.number >= 3

    with pytest.raises(QuorumError):
        run(study, tmp_path, Lossy(agents(tmp_path, study), loses=dies))
    # Other processes at the sites and at the centre, with the folders of before.
    again = {site: SiteAgent(agent._folder) for site, agent in agents_of(tmp_path, study).items()}
    result = run(study, tmp_path, Lossy(again))
    assert all(analysis.result is not None for analysis in result.analyses)
    assert charged(tmp_path, "north") == ALL
    kept = sorted(path.name for path in (tmp_path / "sites" / "north" / "statistics").iterdir())
    assert kept == ["deaths.1.words", "deaths.2.words", "deaths.3.words", "wards.1.words"]


def agents_of(folder: Path, study: StudyManifest) -> dict[str, SiteAgent]:
    from site_client.site_folder import SiteFolder

    assert study.statistics is not None
    return {site: SiteAgent(SiteFolder(folder / "sites" / site)) for site in SITES}


def asked_of_north(folder: Path, study: StudyManifest) -> tuple[dict[str, SiteAgent], list[Envelope]]:
    sites = agents(folder, study)
    transport = Lossy(sites)
    run(study, folder, transport)
    found = [
        request
        for site, request, _ in transport.seen
        if site == "north" and isinstance(request.header, StatisticsRequest)
    ]
    return sites, found


def changed(envelope: Envelope, number: int, **step: object) -> bytes:
    known = StepRequest.from_json(envelope.payload())
    asked = known.model_copy(update={"number": number, "step": known.step.model_copy(update=step)})
    header = envelope.header.model_copy(update={"number": number})
    return Envelope(header).with_payload(asked.model_dump_json().encode()).to_bytes()


def refusal(agent: SiteAgent, request: bytes) -> str:
    header = read_envelope(agent.handle(request)).header
    assert isinstance(header, Refusal), header.kind
    return header.reason


def test_what_was_not_agreed_is_refused_and_charges_nothing(tmp_path: Path) -> None:
    study = private_study(tmp_path, "deaths")
    sites, requests = asked_of_north(tmp_path, study)
    first = StepRequest.from_json(requests[0].payload()).step
    assert isinstance(first, PrivateStep)
    north = sites["north"]
    for step in ({"release": 4}, {"noise_multiplier": 0.001}, {"shares": 4}, {"analysis": "others"}):
        assert refusal(north, changed(requests[-1], 9, **step)) == "PrivacyRefusedError"
    scales = {name: scale / 100 for name, scale in first.portions[0].scales.items()}
    wide = (first.portions[0].model_copy(update={"scales": scales}), *first.portions[1:])
    assert refusal(north, changed(requests[-1], 9, portions=wide)) == "PrivacyRefusedError"
    bare = StepRequest.from_json(requests[0].payload()).model_copy(update={"number": 9, "step": first.portions[0].step})
    header = requests[0].header.model_copy(update={"number": 9})
    exact = Envelope(header).with_payload(bare.model_dump_json().encode()).to_bytes()
    assert refusal(north, exact) == "PrivacyRefusedError", "the same sum without noise"
    assert charged(tmp_path, "north") == ALL[1:]


def test_a_release_is_answered_for_one_question_only(tmp_path: Path) -> None:
    """Other coefficients for a release that was answered would be a second release."""
    study = private_study(tmp_path, "deaths")
    sites, requests = asked_of_north(tmp_path, study)
    step = StepRequest.from_json(requests[1].payload()).step
    moved = step.portions[0].step.model_copy(update={"coefficients": (0.5, 0.5, 0.5)})
    portions = (step.portions[0].model_copy(update={"step": moved}), *step.portions[1:])
    assert refusal(sites["north"], changed(requests[1], 9, portions=portions)) == "PrivacyRefusedError"
    assert charged(tmp_path, "north") == ALL[1:]


def test_a_folder_that_lost_an_answer_gives_no_other(tmp_path: Path) -> None:
    study = private_study(tmp_path, "deaths")
    sites, requests = asked_of_north(tmp_path, study)
    (tmp_path / "sites" / "north" / "statistics" / "deaths.2.words").unlink()
    sites[
        "north"
    ]._statistics.private.streams = fresh_streams()  # the study's own are seeded: they would repeat the noise
    assert refusal(sites["north"], changed(requests[1], 9)) == "PrivacyRefusedError"


def test_a_ledger_without_room_refuses_before_anything_is_computed(tmp_path: Path) -> None:
    from site_client.ledger.terms import LedgerTerms

    study = private_study(tmp_path, "deaths")
    sites = agents(tmp_path, study)
    terms = LedgerTerms(population="north", site="north", epsilon_cap=0.1, delta=1e-5)
    sites["north"]._statistics.private.charges.ledger.close()
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (tmp_path / "sites" / "north" / name).unlink(missing_ok=True)
    small = Ledger.create(tmp_path / "small.sqlite", terms, clock=lambda: dt.datetime.now(dt.UTC))
    object.__setattr__(sites["north"]._statistics.private.charges, "ledger", small)
    result = run(study, tmp_path, Lossy(sites))
    found = result.analyses[0].result
    assert found is None or "north" not in found.sites
    assert not list((tmp_path / "sites" / "north").glob("statistics/*.words"))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"drop_outs": "leave_out"}, "drop_outs"),
        ({"analyses": [agreed("wards", shares=3)]}, "shared by at most 2"),
        (
            {"analyses": [{**agreed("wards"), "privacy": {**agreed("wards")["privacy"], "epsilon": 0.1}}]},
            "keeps epsilon",
        ),
        ({"analyses": [{**agreed("wards"), "privacy": {**agreed("wards")["privacy"], "releases": 2}}]}, "2 releases"),
    ],
)
def test_a_manifest_whose_promise_does_not_hold_is_none(tmp_path: Path, spec: dict[str, object], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        statistics_manifest(tmp_path, spec={"analyses": [agreed("wards")], **spec})


def statistical(*analyses: dict[str, object], privacy: dict[str, object] | None = None):
    return proposal(
        roster=roster(),
        contract=CONTRACT.as_data(),
        privacy=privacy or {"kind": "none"},
        evaluation={"release": "none"},
        statistics={"analyses": list(analyses)},
    )


LIMITS = {
    "allowed_privacy": ["none"],
    "min_statistics_threshold": 5,
    "max_statistics_sums": 1000,
    "allow_private_statistics": True,
    "allowed_noise": ["distributed"],
    "epsilon_cap_per_study": 50.0,
    "max_delta": 1e-5,
    "min_noise_multiplier": 0.1,
}


def broken(of, **rules) -> list[str]:
    return [violation.rule for violation in check(policy(**LIMITS | rules), of, "north")]


def test_the_policy_decides_about_noisy_and_exact_statistics_apart() -> None:
    noisy = statistical(agreed("wards", shares=1))
    assert broken(noisy) == []
    assert broken(noisy, allow_private_statistics=False, allow_exact_statistics=True) == ["allow_private_statistics"]
    assert broken(noisy, allowed_noise=["local"]) == ["allowed_noise"]
    assert broken(noisy, epsilon_cap_per_study=1.0) == ["epsilon_cap_per_study"]
    assert broken(noisy, max_delta=1e-6) == ["max_delta"]
    assert broken(noisy, min_noise_multiplier=5.0) == ["min_noise_multiplier"]
    exact = {key: value for key, value in agreed("deaths").items() if key != "privacy"}
    both = statistical(agreed("wards", shares=1), exact)
    assert broken(both) == ["allow_exact_statistics"]
    assert broken(both, allow_exact_statistics=True) == []


def test_the_review_says_in_words_what_a_patient_pays() -> None:
    study = statistical(agreed("wards", shares=1), agreed("deaths", shares=1)).manifest
    lines = [line for line in what_leaves(study) if line.startswith("sums for")]
    assert ["EXACT" in line for line in lines] == [False, False]
    assert "3 times" in lines[1]
    assert "epsilon" in lines[1]
    assert "charged to the ledger" in lines[1]
