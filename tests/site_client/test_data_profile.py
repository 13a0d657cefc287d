"""The data profile: right figures, small cells hidden, and never a single record's value."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from federation.errors import InvalidInputError, MappingError
from site_client.commands import app
from site_client.data_profile import DataProfile, profile
from site_client.profile_table import show_profile
from site_client.sources.source import Survey
from tests.site_client.small_site import CONTRACT, MAPPING, contract, records, write

NAN = float("nan")


def profiled(of, *, smallest=5, **survey) -> DataProfile:
    return profile(Survey(records=of, **survey), contract=contract(), smallest=smallest)


def variable(found: DataProfile, name: str):
    return next(entry for entry in found.variables if entry.variable == name)


def shares(found: DataProfile, name: str) -> dict[float, float | None]:
    return {entry.share: entry.value for entry in variable(found, name).quantiles}


def test_quantiles_are_near_the_true_ones_of_a_large_cohort():
    values = np.random.default_rng(1).normal(200.0, 30.0, size=4000)
    found = shares(profiled(records(4000, chol=values)), "chol")
    for share, value in found.items():
        assert value == pytest.approx(np.quantile(values, share), rel=0.02)


def test_kind_unit_missing_and_out_of_range():
    found = profiled(records(20, chol=[NAN, NAN, 1.0, *range(100, 117)], age=30), unknown_codes={"male": 0})
    chol = variable(found, "chol")
    assert (chol.kind, chol.unit, chol.missing, chol.missing_fraction, chol.out_of_range) == (
        "continuous", "mg/dL", 2, 0.1, 1,
    )  # fmt: skip
    assert chol.patients == 18
    assert (variable(found, "male").kind, variable(found, "male").unit) == ("binary", "")
    assert (found.records, found.patients) == (20, 20)


def test_what_the_source_could_not_use_is_not_missing():
    found = profiled(records(20, male=[NAN] * 3 + [1] * 17), unknown_codes={"male": 2})
    assert (variable(found, "male").missing, variable(found, "male").unknown_codes) == (1, 2)


@pytest.mark.parametrize(("number", "first"), [(9, None), (10, 0.5), (20, 0.25), (100, 0.05), (500, 0.01)])
def test_a_quantile_needs_enough_patients_on_either_side(number, first):
    found = shares(profiled(records(number)), "chol")
    shown = [share for share, value in found.items() if value is not None]
    assert (min(shown) if shown else None) == first
    assert shown == [] or max(shown) == pytest.approx(1 - min(shown))


def test_many_records_of_one_patient_are_one_patient():
    keys = ["a"] * 500 + [f"p{index}" for index in range(9)]
    values = [7.0] * 500 + [100.0] * 9
    assert shares(profiled(records(keys=keys, chol=values)), "chol")[0.5] == pytest.approx((4 * 100 + 100) / 5)
    assert all(value is None for value in shares(profiled(records(keys=["a"] * 500, chol=300.0)), "chol").values())


def test_no_record_and_no_extreme_is_shown():
    generator = np.random.default_rng(2)
    chol = np.sort(generator.uniform(50, 700, size=600))
    chol[0], chol[-1] = 50.123, 699.876
    found = profiled(records(600, chol=chol))
    shown = [value for value in shares(found, "chol").values() if value is not None]
    assert min(shown) > chol[4] - 0.5 * (chol[4] - chol[0])  # not the smallest, nor next to it
    assert max(shown) < chol[-1]
    for value in shown:
        around = np.abs(chol - value)
        assert np.sort(around)[4] <= 0.02 * 650  # five patients stand for it
    text = found.model_dump_json()
    assert "50.1" not in text
    assert "699.8" not in text
    assert "patient-" not in text


def test_small_levels_are_hidden_and_cannot_be_worked_out():
    found = profiled(records(40, pain=[2.0] * 3 + [1.0] * 12 + [0.0] * 25))
    counts = {entry.level: entry.records for entry in variable(found, "pain").levels}
    assert counts == {"none": 25, "typical": None, "other": None}  # 40 - 25 - 12 would tell the 3
    assert {entry.level: entry.records for entry in variable(found, "died").levels} == {"0": 20, "1": 20}


def test_a_level_of_few_patients_with_many_records_is_hidden():
    keys = ["a"] * 30 + [f"p{index}" for index in range(30)]
    found = profiled(records(keys=keys, male=[1.0] * 30 + [0.0] * 30))
    assert [entry.records for entry in variable(found, "male").levels] == [None, None]


def test_a_level_that_nobody_has_is_shown_as_nobody():
    found = profiled(records(20, stage=[0.0] * 10 + [1.0] * 10))
    assert [entry.records for entry in variable(found, "stage").levels] == [10, 10, 0]


def test_dates_are_months_and_not_the_first_or_last():
    of = records(100)
    of.index_dates[:] = np.datetime64("2022-03-15")
    of.index_dates[0], of.index_dates[-1] = np.datetime64("1999-01-01"), np.datetime64("2030-12-31")
    found = profiled(of)
    assert found.dates is not None
    assert (found.dates.first, found.dates.last) == ("2022-03", "2022-03")
    assert "1999" not in found.model_dump_json()
    assert "2030-12" not in found.model_dump_json()
    few = profiled(records(4)).dates
    assert few is not None
    assert (few.first, few.last) == (None, None)


def test_repeated_patients_are_counted():
    found = profiled(records(keys=["a", "a", "b", *[f"p{index}" for index in range(10)]], age=30, chol=100))
    assert found.duplicates.repeated_patients == 1


def test_no_records_and_infinities_do_not_break_it():
    assert profiled(records(0)).patients == 0
    assert variable(profiled(records(20, chol=[np.inf] * 2 + [100.0] * 18)), "chol").patients == 18


def test_cells_of_single_patients_cannot_be_asked_for():
    with pytest.raises(InvalidInputError, match="at least 3"):
        profiled(records(), smallest=1)


def test_the_table_says_that_it_stays_here():
    text = io.StringIO()
    show_profile(profiled(records(200)), console=Console(file=text, width=160, highlight=False))
    for word in ("stays here", "chol", "mg/dL", "hidden", "2021-0", "records by level"):
        assert word in text.getvalue()


def test_the_command(tmp_path):
    write(tmp_path, [f"p{n},2021-01-01,{20 + n % 80},{100 + n},m,1,1,{n % 2}" for n in range(30)])
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(MAPPING))
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(CONTRACT))
    words = [
        "data",
        "profile",
        "--contract",
        str(tmp_path / "contract.yaml"),
        "--mapping",
        str(tmp_path / "mapping.yaml"),
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "Profile of st_mary for small: 30 records of 30 patients" in result.output
    found = DataProfile.from_data(json.loads(CliRunner().invoke(app, [*words, "--json"]).output))
    assert variable(found, "age").patients == 30
    assert isinstance(CliRunner().invoke(app, [*words, "--site", "other"]).exception, MappingError)
    assert CliRunner().invoke(app, [*words, "--smallest", "2"]).exit_code != 0
