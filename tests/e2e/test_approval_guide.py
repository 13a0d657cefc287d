"""The commands of docs/approval.md, run in the order in which a lead and three hospitals would."""

from __future__ import annotations

import re
import shlex

import pytest
import typer
import yaml
from typer.testing import CliRunner

from aggregator.commands import app as checks
from aggregator.proposal_commands import register as register_study
from site_client.approval_commands import register as register_site
from tests.aggregator.test_study_template import members
from tests.small_proposal import COORDINATOR, SITES, enrolled
from tests.small_study import contract

root, study_app, site_app = typer.Typer(), typer.Typer(), typer.Typer()
study_app.command("check")(
    next(entry.callback for entry in checks.registered_commands if entry.callback.__name__ == "check")
)
register_study(study_app)
register_site(site_app)
root.add_typer(study_app, name="study")
root.add_typer(site_app, name="site")


def commands_of(page):
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(line)[1:] for line in lines]
    named = {" ".join(words[: 3 if words[1] == "policy" else 2]): words for words in found}
    assert len(named) == len(found) == 15  # each is run below, under its name
    return named


@pytest.fixture
def guide(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "contract.yaml").write_text(yaml.safe_dump(contract()))
    members(tmp_path, SITES)
    homes = {site: enrolled(tmp_path / f"home-{site}", site).folder for site in SITES}
    found = commands_of(repository / "docs" / "approval.md")
    keys = {"COORDINATOR_KEY": COORDINATOR.public_key}

    def run(name, *, site="north", code=0):
        arguments = [keys.get(word, word) for word in found[name]]
        result = CliRunner().invoke(root, arguments, env={"COHORTIUM_SITE": str(homes[site])})
        assert result.exit_code == code, (arguments, result.output, result.exception)
        keys.setdefault("LEAD_KEY", (re.findall(r"public key: (\S+)", result.stdout) or [""])[0])
        return result.stdout

    return run


def test_the_guide_leads_from_a_contract_to_a_dossier_and_on(guide, tmp_path):
    guide("study lead-key")
    guide("study new")
    text = (tmp_path / "study.yaml").read_text().replace("FILL IN", "Ethics vote 12/31")
    (tmp_path / "study.yaml").write_text(text)
    (tmp_path / "study-2.yaml").write_text(text.replace("version: 1", "version: 2"))
    for name in ("study check", "study calibrate", "study sign", "study propose"):
        guide(name)
    for site in SITES:
        guide("site policy init", site=site)
        guide("site policy check", site=site)
    assert "The policy of this site allows it." in guide("site review")
    guide("site decline")
    for site in SITES:
        guide("site approve", site=site)
    assert "may be launched" in guide("study approvals")
    assert "may run here" in guide("site approvals")
    guide("site withdraw-approval")
    guide("site approvals", code=62)
    assert "version" in guide("study amend")
