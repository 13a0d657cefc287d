import pytest

from federation.errors import ManifestError
from federation.study.manifest import StudyManifest
from federation.study.robust_spec import RobustSpec, largest_tolerated, sites_needed
from tests.aggregator.robust_study import robust_manifest
from tests.small_study import manifest, manifest_data

KINDS = ["trimmed_mean", "median", "krum", "geometric_median"]


def rule(kind):
    return {"kind": kind} | ({"root": "site-0"} if kind == "fltrust" else {})


def spec(kind, byzantine):
    return RobustSpec.from_data({"rule": rule(kind), "byzantine": byzantine, "norm_bound": 1.0})


@pytest.mark.parametrize("byzantine", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("trimmed_mean", lambda f: 2 * f + 1),
        ("median", lambda f: 2 * f + 1),
        ("geometric_median", lambda f: 2 * f + 1),
        ("krum", lambda f: 2 * f + 3),
        ("fltrust", lambda f: f + 1),
    ],
)
def test_a_rule_is_refused_below_the_sites_that_it_needs(kind, needed, byzantine):
    number = needed(byzantine)
    sites = tuple(f"site-{n}" for n in range(number))
    found = spec(kind, byzantine)
    assert found.reason_against(sites) is None
    assert "at least" in found.reason_against(sites[:-1])
    assert sites_needed(found.rule, byzantine) == number
    assert largest_tolerated(found.rule, number) == byzantine


def test_no_site_bears_no_rule():
    assert largest_tolerated(spec("krum", 0).rule, 2) == -1


def test_a_manifest_says_what_its_roster_would_survive():
    with pytest.raises(
        ManifestError, match=r"at least 9 sites for krum with 3 faulty ones, got 7: with 7 it survives 2"
    ):
        robust_manifest({"kind": "krum"}, byzantine=3, quorum=4)


def test_a_trusted_root_is_a_site_of_the_roster():
    with pytest.raises(ManifestError, match="trusted root"):
        robust_manifest({"kind": "fltrust", "root": "elsewhere"})


def test_krum_averages_no_more_than_is_safe():
    assert robust_manifest({"kind": "krum", "selected": 3}).aggregation.robust.rule.selected == 3
    with pytest.raises(ManifestError, match="at most n - f - 2 = 3"):
        robust_manifest({"kind": "krum", "selected": 4})


def test_a_quorum_that_faulty_sites_could_hold_up_is_refused():
    with pytest.raises(ManifestError, match="could stop every round"):
        robust_manifest(quorum=6)


def test_what_does_not_compose_is_refused_with_the_reason():
    with pytest.raises(ManifestError, match="control variates are not checked"):
        robust_manifest(algorithm={"kind": "scaffold"})
    site_level = {"kind": "site_level", "epsilon": 8.0, "delta": 1e-3, "clipping_norm": 1.0, "noise_multiplier": 5.0}
    sites = tuple(f"site-{n}" for n in range(25))
    with pytest.raises(ManifestError, match="a rule is not a sum"):
        robust_manifest(privacy=site_level, sites=sites)


@pytest.mark.parametrize(
    "aggregation",
    [
        {"mode": "open_robust"},
        {"mode": "plain", "robust": {"rule": {"kind": "median"}, "byzantine": 1, "norm_bound": 1.0}},
        {"mode": "unknown"},
        {"mode": "open_robust", "robust": {"rule": {"kind": "mean"}, "byzantine": 1, "norm_bound": 1.0}},
        {
            "mode": "open_robust",
            "robust": {"rule": {"kind": "median", "selected": 1}, "byzantine": 1, "norm_bound": 1.0},
        },
        {"mode": "open_robust", "robust": {"rule": {"kind": "median"}, "norm_bound": 1.0}},
        {"mode": "open_robust", "robust": {"rule": {"kind": "median"}, "byzantine": 1}},
        {"mode": "open_robust", "robust": {"rule": {"kind": "median"}, "byzantine": 1, "norm_bound": 0.0}},
        {"mode": "open_robust", "robust": {"rule": {"kind": "median"}, "byzantine": -1, "norm_bound": 1.0}},
    ],
)
def test_half_an_agreement_is_refused(aggregation):
    with pytest.raises(ManifestError):
        manifest(aggregation=aggregation)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rule_is_part_of_the_digest(kind):
    study = robust_manifest(rule(kind))
    assert StudyManifest.from_data(study.as_data()) == study
    assert study.digest != robust_manifest(rule(kind), byzantine=1).digest
    assert study.digest != manifest(roster=manifest_data()["roster"]).digest
