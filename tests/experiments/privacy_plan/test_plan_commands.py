from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from experiments.plan_commands import CURVE_FILE, FIGURE_FILE, PLAN_FILE, register
from experiments.privacy_plan.curve import UtilityCurve
from experiments.privacy_plan.plan import PrivacyPlan
from experiments.privacy_plan.planning import NO_GUARANTEE
from federation.errors import CohortiumError, ConfigurationError, ManifestError
from federation.study.manifest import StudyManifest
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from tests.experiments.privacy_plan.planned_study import DELTA, private_plan, private_study
from tests.small_study import manifest

SHORT = {"rounds": 1, "local_steps": 2, "evaluate_every": 1, "optimiser": {"learning_rate": 0.5}}


@pytest.fixture
def study_app() -> typer.Typer:
    app = typer.Typer()

    @app.callback()
    def root() -> None:
        pass

    register(app)
    return app


def _run(app: typer.Typer, *arguments: object) -> Result:
    result = CliRunner().invoke(app, ["privacy", *map(str, arguments)], env={"COLUMNS": "120"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _file(folder: Path, study: StudyManifest) -> Path:
    path = folder / "study.json"
    path.write_text(study.sealed())
    return path


def test_the_plan_on_a_terminal(study_app: typer.Typer, tmp_path: Path) -> None:
    result = _run(study_app, _file(tmp_path, private_study()))
    promise = private_plan().promise
    assert promise is not None
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert f"noise multiplier {promise.noise_multiplier:g}" in shown
    assert f"{promise.total.rdp:.4g} (PLD {promise.total.pld:.4g}) of 3 promised, delta 1e-05" in shown
    assert "6 rounds of 3: 18" in shown
    for word in ("training", "evaluation", "north", "south", "west", "24.0", "12.0", "5.0", "rounds do not add up"):
        assert word in shown
    assert "the site's own to tell" in shown
    assert "\x1b[" not in result.output  # no colour where there is no terminal


def test_json_is_the_plan_and_nothing_else(study_app: typer.Typer, tmp_path: Path) -> None:
    result = _run(study_app, _file(tmp_path, private_study()), "--json")
    data = json.loads(result.stdout)
    assert set(data) == {"plan", "curve", "files"}
    assert PrivacyPlan.from_data(data["plan"]) == private_plan()
    assert (data["curve"], data["files"]) == (None, [])


def test_caps_of_the_ledgers_given(study_app: typer.Typer, tmp_path: Path) -> None:
    options: list[str] = []
    for site, cap in (("north", 9.0), ("west", 1.0)):
        terms = LedgerTerms(population="all-patients", site=site, epsilon_cap=cap, delta=DELTA)
        path = tmp_path / f"{site}.sqlite"
        Ledger.create(path, terms, clock=lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC)).close()
        options += ["--ledger", f"{site}={path}"]
    file = _file(tmp_path, private_study())
    lines = [line for line in _run(study_app, file, *options).stdout.splitlines() if "│" in line]
    rows = {cells[0]: cells[1:] for line in lines if len(cells := [c.strip() for c in line.split("│")[1:-1]]) == 7}
    caps = {site: (cells[0], cells[-1]) for site, cells in rows.items() if site in {"north", "south", "west"}}
    assert caps["north"] == ("9", "yes")
    assert caps["west"] == ("1", "no")
    assert caps["south"][0].startswith("the site's")
    sites = json.loads(_run(study_app, file, *options, "--json").stdout)["plan"]["sites"]
    assert [site["ledger"] and site["ledger"]["admitted"] for site in sites] == [True, None, False]


def test_a_curve_with_files(study_app: typer.Typer, tmp_path: Path) -> None:
    file = _file(tmp_path, private_study(epsilon=9.0, paid=False, schedule=SHORT))
    folder = tmp_path / "out"
    result = _run(study_app, file, "--curve", "--epsilons", "1,8", "--seeds", "2", "--output", folder)
    shown = " ".join(result.stdout.split())
    assert "rehearsal · AUROC · mean of 2 seeds [95% interval]" in shown
    assert "not the performance on real patients" in shown
    assert "seed 1 · rehearsal · epsilon 8 …" in result.stderr
    curve = UtilityCurve.from_json((folder / CURVE_FILE).read_bytes())
    assert [point.epsilon for point in curve.points] == [None, 8.0, 1.0]
    assert PrivacyPlan.from_json((folder / PLAN_FILE).read_bytes()).study == "small"
    assert (folder / FIGURE_FILE).read_text().lstrip().startswith("<?xml")
    data = json.loads(_run(study_app, file, "--curve", "--epsilons", "1,8", "--seeds", "2", "--json", "-q").stdout)
    assert UtilityCurve.from_data(data["curve"]) == curve


def test_a_study_without_privacy_promises_nothing(study_app: typer.Typer, tmp_path: Path) -> None:
    file = _file(tmp_path, manifest())
    assert NO_GUARANTEE in _run(study_app, file).stdout
    plan = json.loads(_run(study_app, file, "--json").stdout)["plan"]
    assert (plan["promise"], plan["sites"], plan["statement"]) == (None, [], NO_GUARANTEE)
    with pytest.raises(ConfigurationError, match="expected patient-level privacy for an epsilon-utility curve"):
        _run(study_app, file, "--curve")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": -1.0}, r"privacy\.patient_level\.epsilon: .*greater than 0, got -1\.0"),
        ({"delta": 1.0}, r"privacy\.patient_level\.delta: .*less than 1, got 1\.0"),
        ({"noise_multiplier": 0.3}, r"privacy\.noise_multiplier: expected noise that keeps epsilon 3\.0 .* got 0\.3"),
        ({"noise_multiplier": 1e-9}, r"privacy\.noise_multiplier: expected noise that keeps epsilon 3\.0 .* gives inf"),
        ({"sampling_numerator": 0}, r"sampling_numerator: .*greater than or equal to 1, got 0"),
    ],
)
def test_impossible_promises_are_explained(
    study_app: typer.Typer, tmp_path: Path, changes: dict[str, float], message: str
) -> None:
    data = private_study().as_data()
    privacy = data["privacy"]
    assert isinstance(privacy, dict)
    path = tmp_path / "study.json"
    path.write_text(json.dumps(data | {"privacy": privacy | changes}))
    with pytest.raises(ManifestError, match=message) as caught:
        _run(study_app, path)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epsilons", "1,two"], "expected --epsilons as numbers separated by commas, got '1,two'"),
        (["--epsilons", "inf"], "expected --epsilons as numbers"),
        (["--epsilons", ""], "expected --epsilons as numbers"),
        (["--curve", "--epsilons", "2,2"], "expected distinct epsilons"),
        (["--ledger", "east=ledger.sqlite"], "expected --ledger of a site of the roster, got 'east'"),
    ],
)
def test_impossible_options_are_explained_before_anything_is_shown(
    study_app: typer.Typer, tmp_path: Path, options: list[str], message: str
) -> None:
    result = CliRunner().invoke(study_app, ["privacy", str(_file(tmp_path, private_study())), *options])
    assert isinstance(result.exception, CohortiumError)
    assert message in str(result.exception)
    assert result.exception.remedy
    assert result.stdout == ""
