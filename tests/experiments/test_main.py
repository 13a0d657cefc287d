from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pytest
from typer.main import get_command

from experiments import main
from experiments.command_tree import COMMANDS, GROUPS, whole
from federation.errors import CohortiumError, MappingError

HEAVY = (
    "torch",
    "mlflow",
    "ray",
    "hydra",
    "omegaconf",
    "opacus",
    "duckdb",
    "sklearn",
    "matplotlib",
    "flwr",
    "scipy",
    "pandas",
)
REPOSITORY = Path(__file__).resolve().parents[2]


def _python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    inherited = {key: value for key, value in os.environ.items() if key != "COHORTIUM_DATA"}
    paths = {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=inherited | paths | environment)


def _cohortium(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return _python("from experiments.main import main; main()", *arguments, **environment)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `cohortium studies list` raise."""

    def install(failure: BaseException) -> None:
        def fail(group: str) -> Sequence[str]:
            raise failure

        monkeypatch.setattr("conf.groups.option_names", fail)

    return install


def _run(*arguments: str) -> int:
    return main.run(arguments)


HELP = ["", "simulate", "studies", "sweep", "report", "study", "site", "tracking"]


def test_start_up_imports_nothing_heavy() -> None:
    code = f"""
import sys
from experiments.main import run
for command in {HELP!r}:
    assert run([*command.split(), "--help"]) == 0, command
sys.stderr.write(repr([name for name in {HEAVY!r} if name in sys.modules]))
"""
    result = _python(code)
    assert result.stderr == "[]"
    assert result.returncode == 0


def test_every_part_is_mounted() -> None:
    result = _cohortium("--help")
    assert all(command in result.stdout for command in HELP)


def test_the_root_s_help_says_of_every_part_what_it_says_of_itself() -> None:
    tree = get_command(whole(callback=main.root))
    assert isinstance(tree, click.Group)
    said = {name: (part.help or "").partition("\n\n")[0] for name, part in tree.commands.items()}
    assert said == {name: part.summary for name, part in {**COMMANDS, **GROUPS}.items()}
    assert " ".join(_cohortium("--help").stdout.split()).count(" ".join(said["gwas"].split())) == 1


def test_an_unknown_part_is_an_error_that_names_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("simulat") != 0
    assert "simulate" in capsys.readouterr().err


def test_version() -> None:
    result = _cohortium("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("cohortium ")


def test_a_command_is_needed() -> None:
    result = _cohortium()
    assert result.returncode == 2
    assert "Usage: cohortium" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["simulate", "privacy.epsilom=2"], 10, "error: unknown setting 'privacy.epsilom': did you mean 'privacy.epsilon'?\n"),
        (["simulate", "privacy.epsilon=abc"], 10, "error: privacy.epsilon: expected a valid number, got 'abc'\n  → write for example privacy.epsilon=0.5\n"),
        (["study", "check", "absent.yaml"], 11, "error: expected a manifest file at absent.yaml, got: No such file or directory\n  → check the path\n"),
        (["simulat"], 2, "error: No such command 'simulat'. Did you mean 'simulate'?\n  → see `cohortium --help`\n"),
        (["simulate", "--resum", "x"], 2, "error: No such option '--resum'. Did you mean '--resume'?\n  → see `cohortium simulate --help`\n"),
        (["simulate", "--resume", "absent"], 52, "error: expected a simulation's folder"),
    ],
)  # fmt: skip
def test_errors_are_one_message_with_a_code_of_its_own(
    arguments: list[str], code: int, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _run(*arguments) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(expected)
    assert "Traceback" not in captured.err


def test_errors_as_json_are_on_stdout_and_nothing_else_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert _run("simulate", "algorithm=fedpro", "--json") == 10
    captured = capfd.readouterr()
    error = json.loads(captured.out)
    assert (error["error"], error["exit_code"]) == ("ConfigurationError", 10)
    assert error["message"].startswith("unknown algorithm 'fedpro': did you mean 'fedprox'?")
    assert captured.err == ""


def test_markup_in_a_message_is_text(
    failing: Callable[[BaseException], None], capfd: pytest.CaptureFixture[str]
) -> None:
    failing(MappingError("expected [bold]x[/bold], got [red]", site="north"))
    assert _run("studies", "list") == 22
    assert capfd.readouterr().err == "error: site north: expected [bold]x[/bold], got [red]\n"


@pytest.mark.parametrize("kind", CohortiumError.__subclasses__())
def test_the_exit_code_is_that_of_the_class(
    kind: type[CohortiumError], failing: Callable[[BaseException], None], capfd: pytest.CaptureFixture[str]
) -> None:
    failing(kind("expected a, got b"))
    assert _run("studies", "list") == kind.exit_code
    assert "expected a, got b" in capfd.readouterr().err


def test_an_unexpected_failure_is_ours_and_hides_its_text(
    failing: Callable[[BaseException], None], capfd: pytest.CaptureFixture[str]
) -> None:
    failing(KeyError("patient 4711"))
    assert _run("studies", "list") == 70
    captured = capfd.readouterr()
    assert "a bug of ours: KeyError at test_main.py:" in captured.err
    assert "--debug" in captured.err
    assert "4711" not in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("arguments", [("--debug", "studies", "list"), ("studies", "list", "--debug")])
def test_debug_shows_the_traceback(
    arguments: tuple[str, ...], failing: Callable[[BaseException], None], capfd: pytest.CaptureFixture[str]
) -> None:
    failing(KeyError("key"))
    assert _run(*arguments) == 70
    assert "Traceback (most recent call last)" in capfd.readouterr().err


@pytest.mark.parametrize(("package", "extra"), sorted(main.EXTRA_OF_PACKAGE.items()))
def test_a_missing_package_names_the_extra(
    package: str, extra: str, failing: Callable[[BaseException], None], capfd: pytest.CaptureFixture[str]
) -> None:
    failing(ModuleNotFoundError(f"No module named '{package}.sub'", name=f"{package}.sub"))
    assert _run("studies", "list") == 30
    assert f"pip install 'cohortium[{extra}]'" in capfd.readouterr().err


def test_without_hydra_simulate_says_what_to_install() -> None:
    code = "import sys; sys.modules['hydra'] = None\nfrom experiments.main import main; main()"
    result = _python(code, "simulate", "study=synthetic")
    assert result.returncode == 30
    assert "pip install 'cohortium[simulation]'" in result.stderr


def test_a_missing_module_of_ours_is_our_bug(failing: Callable[[BaseException], None]) -> None:
    failing(ModuleNotFoundError("No module named 'federation.gone'", name="federation.gone"))
    assert _run("studies", "list") == 70


def test_a_path_that_cannot_be_used_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert _run("simulate", "study=synthetic", "-q", "--output", str(tmp_path / "file" / "run")) == 2
    assert f"error: cannot use {tmp_path}" in capfd.readouterr().err


def test_ctrl_c_is_130(failing: Callable[[BaseException], None], capfd: pytest.CaptureFixture[str]) -> None:
    failing(KeyboardInterrupt())
    assert _run("studies", "list") == 130
    assert "stopped by the operator" in capfd.readouterr().err


def test_colours_only_on_a_terminal_that_wants_them() -> None:
    plain = _cohortium("simulate", "algorithm=fedpro")
    assert "\x1b" not in plain.stderr
    wanted = _cohortium("simulate", "algorithm=fedpro", FORCE_COLOR="1", NO_COLOR="", TERM="xterm-256color")
    assert "\x1b[" in wanted.stderr
    refused = _cohortium("simulate", "algorithm=fedpro", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm-256color")
    assert "\x1b[3" not in refused.stderr


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    command = [sys.executable, "-m", "experiments.main", "study", "schema"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    ) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 1


ENDS = """
import atexit, threading, time
from experiments import main
def slow():
    time.sleep(0.3)
    print("thread", flush=False)
def run(_):
    threading.Thread(target=slow).start()
    atexit.register(lambda: print("registered"))
    print("said", end="")
    return CODE
main.run = run
main.main()
"""


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_ends_at_once_but_leaves_nothing_undone(code: int) -> None:
    done = _python(ENDS.replace("CODE", str(code)))
    assert (done.returncode, done.stdout, done.stderr) == (code, "saidthread\nregistered\n", "")


def test_records_that_a_log_holds_back_are_written_at_the_end() -> None:
    code = (
        "import logging, logging.handlers, sys\nfrom experiments import main\n"
        "held = logging.handlers.MemoryHandler(99, target=logging.StreamHandler(sys.stdout))\n"
        "logging.getLogger().addHandler(held)\n"
        "main.run = lambda _: logging.warning('kept') or 0\nmain.main()"
    )
    done = _python(code)
    assert (done.returncode, done.stdout) == (0, "kept\n")


def test_an_output_that_nobody_reads_is_told_as_python_tells_it() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "from experiments import main\nmain.run = lambda _: print('lost') or 0\nmain.main()"
    with os.fdopen(writing, "wb") as output:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
            cwd=REPOSITORY,
            env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
        )
    assert done.returncode == 120
    assert b"BrokenPipeError" in done.stderr


def test_modules_are_not_taken_apart() -> None:
    code = (
        "import sys\nfrom experiments import main\n"
        "class Kept:\n    def __del__(self): sys.__stderr__.write('taken apart')\n"
        "kept = Kept()\nmain.run = lambda _: 0\n"
    )
    assert _python(code + "main.main()").stderr == ""
    assert _python(code + "main.run([])").stderr == "taken apart"
