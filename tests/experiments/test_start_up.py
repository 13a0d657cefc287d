"""A command imports what it needs and nothing that takes long beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_study import manifest

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "mlflow", "ray", "hydra", "opacus", "flwr", "sklearn", "matplotlib", "pandas", "duckdb", "sqlalchemy")
BESIDE_HELP = (*HEAVY, "numpy", "scipy", "pydantic", "cryptography")
HELPS = (
    [],
    ["--help"],
    ["--version"],
    ["simulate", "--help"],
    ["report", "--help"],
    ["study", "--help"],
    ["study", "check", "--help"],
    ["study", "privacy", "--help"],
    ["site", "--help"],
    ["site", "doctor", "--help"],
    ["aggregator", "--help"],
    ["consortium", "--help"],
    ["tracking", "--help"],
)


def imported(arguments: list[str], heavy: tuple[str, ...]) -> list[str]:
    """Which of the modules are there when the command has ended."""
    code = (
        "import sys\nfrom experiments.main import run\n"
        f"run({arguments!r})\nsys.stderr.write('found ' + repr([name for name in {heavy!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return done.stderr.rpartition("found ")[2].strip("[]").replace("'", "").split(", ")


def test_help_reads_no_document_and_computes_nothing() -> None:
    code = (
        "import sys\nfrom experiments.main import run\n"
        f"for words in {[*HELPS]!r}:\n    run(words)\n"
        f"    found = [name for name in {BESIDE_HELP!r} if name in sys.modules]\n"
        "    assert not found, (words, found)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_the_root_s_help_names_every_part() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "experiments.main", "--help"], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert all(name in done.stdout for name in ("simulate", "report", "audit", "studies", "sweep", "study", "site"))


@pytest.mark.parametrize(
    "command",
    [
        ["studies", "list"],
        ["studies", "list", "--json"],
        ["study", "check", "FILE"],
        ["study", "show", "FILE", "--json"],
    ],
    ids=" ".join,
)
def test_looking_at_studies_needs_no_learning_libraries(command, tmp_path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(manifest().sealed())
    assert imported([str(file) if word == "FILE" else word for word in command], HEAVY) == [""]


def test_settings_are_composed_without_training_libraries() -> None:
    needless = tuple(name for name in HEAVY if name != "hydra")
    assert imported(["simulate", "study=demo", "debug=tiny", "--cfg"], needless) == [""]


@pytest.mark.parametrize("module", ["federation.study.manifest", "aggregator.delivery_process", "aggregator.tracking"])
def test_what_reads_a_manifest_does_not_wait_for_torch(module) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_a_plain_simulation_waits_for_no_library_it_does_not_use(tmp_path: Path) -> None:
    words = ["simulate", "study=synthetic", "debug=tiny", "tracking=none", "engine=batched", "privacy=none", "-q"]
    references = [f"baselines.{name}=false" for name in ("pooled.enabled", "local_only", "cyclic", "non_private")]
    needless = (
        "opacus",
        "sklearn",
        "pandas",
        "matplotlib",
        "mlflow",
        "ray",
        "flwr",
        "onnx",
        "scipy.stats",
        "formulaic",
    )
    assert imported([*words, *references, "--output", str(tmp_path / "run")], needless) == [""]
    assert (tmp_path / "run" / "figures" / "roc.svg").is_file()
    assert (tmp_path / "run" / "phases.json").is_file()
