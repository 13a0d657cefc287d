from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import yaml

from experiments.studies.catalogue import PreparedStudy, load_study
from experiments.studies.synthetic.files import _column, _table, _Texts
from experiments.studies.synthetic.study import TRUE_MODEL_FILE, SyntheticOptions
from experiments.synthetic_hospitals import draw_hospitals
from experiments.true_model import TrueModel
from federation.data.contract import Continuous
from federation.data.encoding import encode_features
from federation.errors import ConfigurationError, ManifestError
from federation.privacy.randomness import seeded_streams
from site_client.sources.mapping import read_mapping
from tests.experiments.studies.reading import read_all


def load(folder: Path, **options: object) -> PreparedStudy:
    return load_study("synthetic", options={"patients_per_site": 60, **options}, seed=7, folder=folder, data=None)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_files_and_mappings_give_back_what_was_drawn(task: str, tmp_path: Path) -> None:
    options = {"task": task, "max_records_per_patient": 3, "missing_fraction": 0.2}
    study = load(tmp_path, **options)
    drawn, truth = draw_hospitals(
        study.definition.contract,
        task=study.definition.task,
        settings=SyntheticOptions.from_data({"patients_per_site": 60, **options}),
        streams=seeded_streams(7, provenance="synthetic").child("study", "synthetic"),
    )
    read = read_all(study)
    assert study.definition.task == task
    assert study.definition.cohort.max_records_per_patient == 3
    for site, records in zip(study.sites, drawn, strict=True):
        np.testing.assert_array_equal(read[site.site].patient_keys, records.patient_keys)
        assert site.public_patients == len(set(records.patient_keys))
        for name, values in records.values.items():
            np.testing.assert_allclose(read[site.site].values[name], values, rtol=1e-6, atol=1e-9)
    assert TrueModel.from_json((tmp_path / TRUE_MODEL_FILE).read_bytes()) == truth


def test_the_built_in_contract_has_every_kind_and_rule(tmp_path: Path) -> None:
    contract = load(tmp_path).definition.contract
    assert {variable.kind for variable in contract.variables} == {
        "continuous",
        "integer",
        "binary",
        "categorical",
        "ordinal",
    }
    assert {variable.missing.rule for variable in contract.variables} == {"forbid", "exclude", "impute"}


def test_any_contract_will_do(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "sepsis",
                "patient_key": "pid",
                "index_date": {"name": "admitted", "earliest": "2020-01-01", "latest": "2023-12-31"},
                "variables": [
                    {"name": "lactate", "kind": "continuous", "unit": "mmol/L", "minimum": 0, "maximum": 20},
                    {"name": "score", "kind": "ordinal", "levels": ["low", "medium, raised", "high"]},
                ],
                "outcome": {"name": "shock", "kind": "binary"},
            }
        )
    )
    study = load(tmp_path / "out", contract=str(path), num_sites=2)
    records = read_all(study)["hospital-02"]
    assert records.index_dates is not None
    assert records.index_dates.max() <= np.datetime64("2023-12-31")
    assert set(records.values) == {"lactate", "score", "shock"}
    assert (
        encode_features(
            study.definition.contract, {name: np.nan_to_num(records.values[name]) for name in ("lactate", "score")}
        ).shape[1]
        == 2
    )
    assert read_mapping(tmp_path / "out" / "hospital-02" / "mapping.yaml").site == "hospital-02"


def test_an_absent_contract_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"data contract in YAML at .*absent\.yaml, got FileNotFoundError"):
        load(tmp_path, contract=str(tmp_path / "absent.yaml"))


def test_a_file_that_is_no_contract_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text("name: only\n")
    with pytest.raises(ManifestError, match="patient_key: Field required"):
        load(tmp_path, contract=str(path))


def test_a_task_that_does_not_fit_a_given_contract_is_refused(tmp_path: Path, repository: Path) -> None:
    built_in = repository / "experiments" / "studies" / "synthetic" / "contract.yaml"
    with pytest.raises(ConfigurationError, match="task regression, got deterioration of kind binary"):
        load(tmp_path / "out", contract=str(built_in), task="regression")
    assert not (tmp_path / "out").exists()


def test_texts_are_quoted_where_a_reader_needs_it() -> None:
    plain, awkward = {"a": ["1", ""], "b": ["x", "y"]}, {"a,b": ["1", ""], "c": ['say "x"', "two\nlines"]}
    assert _table({name: _Texts(cells) for name, cells in plain.items()}) == "a,b\n1,x\n,y\n"
    written = _table({name: _Texts(cells) for name, cells in awkward.items()})
    assert [dict(row) for row in csv.DictReader(io.StringIO(written, newline=""))] == [
        dict(zip(awkward, row, strict=True)) for row in zip(*awkward.values(), strict=True)
    ]


@pytest.mark.parametrize("word", ["plain", "quo,ted"])
def test_measurements_are_written_to_twelve_digits(word: str) -> None:
    variable = Continuous.from_data({"kind": "continuous", "name": "x", "unit": "kg", "minimum": 0, "maximum": 9})
    values = np.array([0.1 + 0.2, 1e-7, 123456789012.5, 0.0, 5.0])
    gaps = np.where(values == 0, np.nan, values)
    columns = {"word": _Texts([word] * len(values)), "x": _column(variable, values), "y": _column(variable, gaps)}
    for row, x, y in zip(csv.DictReader(io.StringIO(_table(columns), newline="")), values, gaps, strict=True):
        assert row == {"word": word, "x": f"{x:.12g}", "y": "" if np.isnan(y) else f"{y:.12g}"}
