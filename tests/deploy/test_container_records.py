"""The hospitals of the container test are generated, have the guides' names, and fit the contract of the heart disease study."""

from __future__ import annotations

from pathlib import Path

import yaml

from deploy.container_test.compose import write_limits
from deploy.container_test.consortium import SITES
from deploy.container_test.records import generate_records
from site_client.sources.mapping import read_mapping


def test_three_generated_hospitals_have_the_names_of_the_guides(tmp_path: Path) -> None:
    public, folders = generate_records(tmp_path)
    assert public.provenance == "synthetic"
    assert tuple(folders) == SITES == tuple(public.training_patients)
    for site, folder in folders.items():
        assert read_mapping(folder / "mapping.yaml").site == site
        rows = len((folder / "patients.csv").read_text(encoding="utf-8").splitlines()) - 1
        assert 0 < public.training_patients[site] < rows
    contract = yaml.safe_load(public.contract.read_text(encoding="utf-8"))
    assert contract["outcome"]["name"] == "disease"


def test_the_name_of_the_gate_is_told_to_the_gateway_alone(tmp_path: Path) -> None:
    path = write_limits(tmp_path / "limits.yaml", "agent", "gateway", hosts={"gate.example.org": "192.0.2.1"})
    services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    assert services["gateway"]["extra_hosts"] == ["gate.example.org:192.0.2.1"]
    assert "extra_hosts" not in services["agent"]
    assert all(service["healthcheck"] == {"disable": True} for service in services.values())
