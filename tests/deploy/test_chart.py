"""The Helm chart: one pod, one port, no privilege, no image without a digest. Helm itself judges it in `make container-test`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).resolve().parents[2] / "deploy/helm/cohortium-aggregator"


def document(name: str) -> dict[str, Any]:
    """A template as YAML: blocks of Helm's language left out, values in place of expressions."""
    lines = (CHART / "templates" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not re.fullmatch(r"\s*\{\{.*\}\}\s*", line)]
    return yaml.safe_load(re.sub(r"\{\{[^}]*\}\}", "value", "\n".join(kept)))


def pod() -> dict[str, Any]:
    return document("statefulset")["spec"]["template"]["spec"]


def test_the_pod_runs_without_privilege_and_without_an_account_of_the_cluster() -> None:
    security = pod()["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (10003, 10003, 10003)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    assert not any(pod()[name] for name in ("hostNetwork", "hostPID", "hostIPC"))
    (container,) = pod()["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/var/lib/cohortium/aggregator", "/tmp"]


def test_one_process_uses_the_volume() -> None:
    assert document("statefulset")["spec"]["replicas"] == 1
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    assert "replicas" not in yaml.safe_load(text)


def test_the_gates_port_is_the_only_one() -> None:
    assert [port["containerPort"] for port in pod()["containers"][0]["ports"]] == [8443]
    assert [port["targetPort"] for port in document("service")["spec"]["ports"]] == ["gate"]
    policy = document("networkpolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["gate"]
    assert policy["egress"] == []
    assert not list((CHART / "templates").glob("*ingress*"))  # TLS ends in the gate


@pytest.mark.parametrize("digest", ["", "latest", "sha256:abc", "sha256:" + "G" * 64])
def test_an_image_is_named_by_digest(digest: str) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    pattern = schema["properties"]["image"]["properties"]["digest"]["pattern"]
    assert not re.search(pattern, digest)
    assert re.search(pattern, "sha256:" + "0" * 64)
    assert "@%s" in (CHART / "templates/statefulset.yaml").read_text(encoding="utf-8")
    assert "tag" not in yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["image"]


def test_a_failed_study_does_not_restart_the_host() -> None:
    container = pod()["containers"][0]
    assert container["livenessProbe"]["exec"]["command"][-1] == "--alive"
    assert container["readinessProbe"]["exec"]["command"][-1] == "/opt/cohortium/health.py"
