import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from experiments.sweeps import summarise_sweep
from federation.errors import CheckpointError


def setting(name, value, *, seeds=2):
    interval = {"auroc": [value - 0.02, value + 0.02]} if seeds > 1 else {}
    return {"setting": name, "metrics": {"auroc": value, "accuracy": value - 0.1}, "interval": interval}


def finish(folder, *, epsilon, value, algorithm="fedavg", study="demo", seeds=2, **changes):
    rows = [setting("local_only", 0.8, seeds=seeds), setting("federated", value, seeds=seeds)]
    rows += [setting("federated_non_private", 0.87, seeds=seeds)] if epsilon is not None else []
    summary = {
        "format": "cohortium/simulation-summary/1",
        "study": study,
        "name": "demo",
        "algorithm": algorithm,
        "model": "linear",
        "epsilon": epsilon,
        "delta": None if epsilon is None else 1e-3,
        "seeds": list(range(42, 42 + seeds)),
        "primary_metric": "auroc",
        "settings_table": [*rows, setting("pooled", 0.9, seeds=seeds)],
        "something_new": {"that": "a sweep does not need"},
    }
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary | changes))
    (folder / "settings.json").write_text("{}")


@pytest.fixture
def sweep_folder(tmp_path):
    number = 0
    for algorithm in ("fedprox", "fedavg"):
        for epsilon, value in ((1.0, 0.75), (8.0, 0.85), (None, 0.88)):
            finish(tmp_path / str(number), epsilon=epsilon, value=value, algorithm=algorithm)
            number += 1
    for _ in range(6):  # jobs 6 to 11: 10 comes after 9
        finish(tmp_path / str(number), epsilon=2.0, value=0.8, algorithm="scaffold")
        number += 1
    return tmp_path


def shown(sweep):
    console = Console(file=io.StringIO(), width=200)
    console.print(sweep.table())
    return console.file.getvalue()


def test_files_are_written_and_named(sweep_folder):
    sweep = summarise_sweep(sweep_folder)
    assert [path.rsplit("/", 1)[1] for path in sweep.files] == [
        "sweep.csv",
        "sweep_summary.json",
        "sweep.svg",
        "sweep.png",
    ]
    assert (sweep_folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert sweep.plot == str(sweep_folder / "sweep.png")
    assert type(sweep).from_json((sweep_folder / "sweep_summary.json").read_text()) == sweep


def test_the_csv_has_every_setting_and_metric(sweep_folder):
    summarise_sweep(sweep_folder)
    rows = list(csv.DictReader(io.StringIO((sweep_folder / "sweep.csv").read_text())))
    assert len(rows) == (10 * 4 + 2 * 3) * 2
    [found] = [
        row for row in rows if row["run"] == "0: demo" and row["setting"] == "federated" and row["metric"] == "auroc"
    ]
    assert (found["epsilon"], found["value"], found["lower"]) == ("1.0", "0.75", "0.73")


def test_the_table_goes_from_no_privacy_to_strong_privacy_by_algorithm(sweep_folder):
    text = shown(summarise_sweep(sweep_folder))
    lines = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    found = [(cells[2].strip(), cells[3].strip()) for cells in lines]
    assert found[:6] == [
        ("fedavg", "none"),
        ("fedavg", "8"),
        ("fedavg", "1"),
        ("fedprox", "none"),
        ("fedprox", "8"),
        ("fedprox", "1"),
    ]
    assert [cells[1].strip() for cells in lines[6:]] == [f"{number}: demo" for number in range(6, 12)]
    assert "0.850 [0.830, 0.870]" in text
    assert "mean of 2 seeds" in text


def test_the_plot_has_a_line_per_algorithm_and_the_references(sweep_folder):
    summarise_sweep(sweep_folder)
    svg = (sweep_folder / "sweep.svg").read_text()
    for text in ("fedavg", "fedprox", "fedavg, no privacy", "pooled records", "epsilon (smaller: stronger privacy)"):
        assert f">{text}<" in svg
    assert ">8<" in svg  # ticks at the epsilons that were run
    assert "<dc:date>" not in svg


def test_summarising_again_changes_nothing(sweep_folder):
    first = summarise_sweep(sweep_folder)
    before = {path: Path(path).read_bytes() for path in first.files}
    assert summarise_sweep(sweep_folder) == first
    assert {path: Path(path).read_bytes() for path in first.files} == before


def test_a_sweep_without_privacy_is_shown_by_run(tmp_path):
    finish(tmp_path / "0", epsilon=None, value=0.8, seeds=1)
    finish(tmp_path / "1", epsilon=None, value=0.9, seeds=1, algorithm="fedadam")
    sweep = summarise_sweep(tmp_path)
    svg = (tmp_path / "sweep.svg").read_text()
    assert ">0: demo<" in svg
    assert "epsilon" not in svg
    assert "[" not in shown(sweep)


def test_two_studies_are_not_one_line(tmp_path):
    for number, study in enumerate(("demo", "heart_disease")):
        finish(tmp_path / str(number), epsilon=2.0, value=0.8, study=study)
    summarise_sweep(tmp_path)
    assert ">heart_disease, fedavg<" in (tmp_path / "sweep.svg").read_text()


def test_a_single_simulation_is_a_sweep_of_one(tmp_path):
    finish(tmp_path / "run", epsilon=2.0, value=0.8)
    assert {row.run for row in summarise_sweep(tmp_path / "run").rows} == {"demo"}


def test_copies_in_a_trackers_artefacts_are_not_simulations(sweep_folder):
    copy = sweep_folder / "mlartifacts" / "1" / "artifacts"
    copy.mkdir(parents=True)
    (copy / "summary.json").write_bytes((sweep_folder / "0" / "summary.json").read_bytes())
    assert len(summarise_sweep(sweep_folder).of_metric("federated")) == 12


def plan(folder, *labels):
    settings = {
        "study": {"name": "demo"},
        "model": {"kind": "linear"},
        "privacy": {"kind": "none"},
        "algorithm": {"kind": "fedavg"},
        "schedule": {"rounds": 1, "local_steps": 1, "optimiser": {"learning_rate": 0.1}},
        "engine": {"kind": "inline"},
    }
    jobs = [{"folder": str(number), "label": label, "settings": settings} for number, label in enumerate(labels)]
    (folder / "sweep.json").write_text(json.dumps({"overrides": [], "jobs": jobs}))


def test_a_plan_names_the_runs_by_what_the_columns_do_not_say(sweep_folder):
    plan(sweep_folder, "privacy.epsilon=1 algorithm=fedprox", "privacy.epsilon=8 privacy.clipping_norm=2", "unfinished")
    (sweep_folder / "2" / "summary.json").unlink()
    runs = {row.run for row in summarise_sweep(sweep_folder).rows}
    assert runs == {"0", "1: privacy.clipping_norm=2"}
    assert (sweep_folder / "sweep.json").read_text().startswith('{"overrides"')


def test_nothing_finished_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="got none") as error:
        summarise_sweep(tmp_path)
    assert "--resume" in error.value.remedy


@pytest.mark.parametrize("text", ["{", '{"study": "demo"}', '{"study": NaN}'])
def test_a_broken_summary_is_named_and_nothing_is_written(sweep_folder, text):
    (sweep_folder / "3" / "summary.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"3/summary\.json"):
        summarise_sweep(sweep_folder)
    assert not (sweep_folder / "sweep.csv").exists()
