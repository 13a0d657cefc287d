"""`docs/enrolment.md`, run from its first command to its last, on one machine, with the fingerprints that were printed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aggregator.authority.commands import app as consortium_app
from aggregator.host import enrolment_commands as host_commands
from aggregator.host.home import AggregatorHome
from aggregator.host.home_paths import HostLayout
from site_client import enrolment_commands
from tests.architecture.source_tree import ROOT

PLACEHOLDER = "0123 4567 89ab cdef 0123 4567 89ab cdef"


def _commands() -> list[list[str]]:
    text = (ROOT / "docs" / "enrolment.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def _root() -> typer.Typer:
    root, aggregator, site = (typer.Typer(pretty_exceptions_enable=False) for _ in range(3))
    host_commands.register(aggregator)
    enrolment_commands.register(site)
    root.add_typer(consortium_app, name="consortium")
    root.add_typer(aggregator, name="aggregator")
    root.add_typer(site, name="site")
    return root


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passphrase.txt").write_text("correct horse battery\n")
    home = AggregatorHome(
        consortium="cardio", gate="gate.example.org:8443", listen="0.0.0.0:8443",
        superlink_port=1, mlflow_port=2, health_port=3, gate_health_port=4,
    )  # fmt: skip
    HostLayout(tmp_path / "aggregator").write(home)
    return {
        "COHORTIUM_AUTHORITY": str(tmp_path / "authority"),
        "COHORTIUM_AGGREGATOR": str(tmp_path / "aggregator"),
        "COHORTIUM_SITE": str(tmp_path / "site"),
        "HOME": str(tmp_path / "nobody"),
    }


def test_every_command_of_the_guide_works_in_its_order(environment: dict[str, str], tmp_path: Path) -> None:
    printed: dict[str, dict[str, str]] = {}
    # Whose fingerprint stands behind --fingerprint, and which command of the other side printed it.
    source = {
        "consortium certify-aggregator": ("aggregator request", "read_out"),
        "aggregator install": ("consortium init", "read_out"),
        "site enrol": ("consortium init", "read_out"),
        "consortium admit": ("site enrol", "request_read_out"),
    }
    for words in _commands():
        name = " ".join(words[:2])
        command, key = source.get(name, ("", ""))
        given = [printed[command][key] if word == PLACEHOLDER else word for word in words]
        result = CliRunner().invoke(_root(), [*given, "--json"], env=environment, catch_exceptions=False)
        assert result.exit_code == 0, (given, result.output)
        printed[name] = json.loads(result.stdout)
    assert len(_commands()) == 19
    assert not (tmp_path / "nobody").exists()  # everything stayed where the guide says
    assert (tmp_path / "site" / "site.json").is_file()
