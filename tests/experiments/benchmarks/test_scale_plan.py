"""A scale plan is the product of prices and numbers, and knows what a manifest refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from experiments.benchmarks.records import write_benchmarks
from experiments.benchmarks.scale_plan import UnitCosts, bytes_in_words, main, plan, seconds_in_words
from federation.errors import InvalidInputError
from tests.experiments.benchmarks.example_run import UNIT_COSTS, run_of, unit_costs

_COSTS = UnitCosts(**UNIT_COSTS)


def test_a_plain_plan_by_hand() -> None:
    found = plan(_COSTS, sites=100, parameters=1_000_000, rounds=10)
    assert found.round_bytes == 100 * (1000 + 8_000_000)
    assert found.study_bytes == 10 * found.round_bytes
    assert found.round_cpu_seconds == pytest.approx(100 * (0.001 + 1e6 * 3e-9))
    assert found.study_cpu_hours == pytest.approx(10 * 0.4 / 3600)
    assert found.memory_bytes == 100 * (500 + 4_000_000) + 16_000_000
    assert found.site_cpu_seconds == pytest.approx(0.001 + 1e6 * 2e-9)


def test_a_masked_plan_by_hand() -> None:
    plain = plan(_COSTS, sites=30, parameters=1000, rounds=1)
    masked = plan(_COSTS, sites=30, parameters=1000, rounds=1, masked=True)
    assert masked.round_bytes - plain.round_bytes == 900 * 600
    # 900 pairs of keys, 30 own masks of 1,000 parameters, 21 shares of each of 30 secrets.
    assert masked.round_cpu_seconds - plain.round_cpu_seconds == pytest.approx(
        900 * 0.002 + 3e4 * 1e-9 + 30 * 21 * 1e-7
    )
    assert masked.site_cpu_seconds - plain.site_cpu_seconds == pytest.approx(30 * 0.01 + 3e4 * 1e-9)
    assert masked.memory_bytes - plain.memory_bytes == 900 * 500


def test_plain_work_grows_with_the_sites_and_key_work_with_their_square() -> None:
    one, ten = (plan(_COSTS, sites=sites, parameters=1000, rounds=1) for sites in (100, 1000))
    assert ten.round_bytes == pytest.approx(10 * one.round_bytes)
    assert ten.round_cpu_seconds == pytest.approx(10 * one.round_cpu_seconds)
    assert ten.site_cpu_seconds == one.site_cpu_seconds
    one, ten = (plan(_COSTS, sites=sites, parameters=1, rounds=1, masked=True) for sites in (1000, 10_000))
    assert ten.round_cpu_seconds == pytest.approx(100 * one.round_cpu_seconds, rel=0.01)


def test_what_a_manifest_refuses_is_said() -> None:
    allowed = {
        (sites, masked): plan(_COSTS, sites=sites, parameters=1, rounds=1, masked=masked).is_allowed
        for sites in (2, 1000, 1001)
        for masked in (False, True)
    }
    assert [key for key, value in allowed.items() if not value] == [(2, True), (1001, True)]


@pytest.mark.parametrize("wrong", ["sites", "parameters", "rounds"])
def test_a_plan_for_nobody_is_refused(wrong: str) -> None:
    numbers = {"sites": 1, "parameters": 1, "rounds": 1} | {wrong: 0}
    with pytest.raises(InvalidInputError, match=wrong):
        plan(_COSTS, sites=numbers["sites"], parameters=numbers["parameters"], rounds=numbers["rounds"])


def test_a_run_without_all_prices_is_refused_by_name() -> None:
    run = run_of(figures=unit_costs()[1:])
    with pytest.raises(InvalidInputError, match="site_seconds"):
        UnitCosts.of(run)
    assert UnitCosts.of(run_of(figures=unit_costs())) == _COSTS


def test_the_command_prints_a_plan(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    path = tmp_path / "run.json"
    write_benchmarks(path, run_of(figures=unit_costs()))
    words = [str(path), "--sites", "100", "--parameters", "1000000", "--rounds", "10"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    assert "800 MB" in shown.output
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert found["round_bytes"] == 100 * 8_001_000
    assert found["is_allowed"] is True


@pytest.mark.parametrize(
    ("value", "words"), [(12.0, "12 B"), (1500.0, "1.5 kB"), (2e6, "2 MB"), (3e9, "3 GB"), (4e12, "4 TB")]
)
def test_bytes_in_words(value: float, words: str) -> None:
    assert bytes_in_words(value) == words


@pytest.mark.parametrize(("value", "words"), [(0.0123, "12.3 ms"), (2.5, "2.5 s"), (90.0, "1.5 min"), (7200.0, "2 h")])
def test_seconds_in_words(value: float, words: str) -> None:
    assert seconds_in_words(value) == words
