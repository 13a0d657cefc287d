"""Bills of materials say what is in the images: complete, the same every time, and told apart by image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy import sbom


def names(content: dict[str, Any]) -> set[str]:
    return {component["name"] for component in content["components"]}


@pytest.mark.parametrize("target", sbom.TARGETS)
def test_a_bill_names_every_package_once_with_its_exact_version(target: str) -> None:
    content: dict[str, Any] = sbom.of_environment(target)
    references = [component["bom-ref"] for component in content["components"]]
    assert len(set(references)) == len(references) > 20
    assert all(
        component["purl"] == f"pkg:pypi/{component['name']}@{component['version'].replace('+', '%2B')}"
        for component in content["components"]
    )
    wanted = {line.partition("[")[0].replace("_", "-").lower() for line in sbom.required_names(target)}
    assert wanted <= names(content)
    known = {*references, content["metadata"]["component"]["bom-ref"]}
    assert {need for entry in content["dependencies"] for need in entry["dependsOn"]} <= known


def test_what_an_image_must_not_hold_is_not_on_its_bill() -> None:
    assert not names(sbom.of_environment("gateway")) & {"torch", "opacus", "duckdb", "mlflow", "scikit-learn", "ray"}
    assert not names(sbom.of_environment("agent")) & {"flwr", "httpx", "grpcio", "mlflow", "ray", "starlette"}
    assert "torch" in names(sbom.of_environment("agent"))


def test_the_same_packages_make_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        sbom.main(["--output", str(tmp_path / folder)])
    for target in sbom.TARGETS:
        first, second = ((tmp_path / folder / f"{target}.cdx.json").read_bytes() for folder in ("first", "second"))
        assert first == second
        assert json.loads(first)["specVersion"] == "1.6"


def test_a_mounted_image_is_read_with_its_operating_system(tmp_path: Path) -> None:
    package = tmp_path / "opt/cohortium/lib/python3.11/site-packages/example-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.4\nName: Example\nVersion: 1.0\nLicense-Expression: MIT\n")
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n"
    )
    content: dict[str, Any] = sbom.of_root("agent", tmp_path)
    assert [component["purl"] for component in content["components"]] == [
        "pkg:pypi/example@1.0",
        "pkg:deb/debian/libc6@2.36-9?arch=amd64",
    ]
    assert content["components"][0]["licenses"] == [{"expression": "MIT"}]


def test_a_package_that_is_not_installed_is_not_left_out(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        sbom.needed(["no-such-package"], sbom.installed(str(tmp_path)))
