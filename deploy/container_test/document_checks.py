"""Chart, units and bills of materials, each judged by its own tool."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from deploy.container_test.checks import Checks
from deploy.container_test.engine import command

_WORST_EXPOSURE: Final = 2.0
"""Of ``systemd-analyze security``, 0 to 10."""
_KUBERNETES: Final = "1.34"
_CHART: Final = """
import json, sys, yaml
import helm_python as helm
import kubernetes_validate
chart, version = sys.argv[1:]
values = yaml.safe_load(open(chart + "/ci/example-values.yaml"))
report = helm.lint(chart, values, strict=True)
findings = [message for message in report["messages"] if message["severity"] >= 2] + report["errors"]
variants = ({}, {"setup": True}, {"service": {"type": "ClusterIP", "port": 443},
            "gateFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "storage": {"size": "1Gi", "className": "fast"}})
documents = []
for variant in variants:
    rendered = helm.Chart.load(chart).render({**values, **variant}, name="hearts", namespace="cohortium")
    for path, text in rendered.items():
        if path.endswith(".yaml"):
            document = yaml.safe_load(text)
            kubernetes_validate.validate(document, version, strict=True)
            documents.append(document)
try:
    helm.Chart.load(chart).render({}, name="hearts")
    unpinned = "rendered"
except helm.HelmError as refusal:
    unpinned = "refused" if "digest" in str(refusal) else str(refusal)
kinds = [document["kind"] for document in documents]
print(json.dumps({"helm": helm.helm_sdk_version(), "findings": findings, "kinds": kinds, "unpinned": unpinned}))
"""
_BILL: Final = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1], encoding="utf-8").read())
sys.exit(0 if found is None else str(found))
"""


def check_chart(tools: Path, chart: Path, checks: Checks) -> None:
    """Lint and render the Helm chart, and hold what comes out beside Kubernetes's schemas."""
    outcome = command((str(tools / "python"), "-c", _CHART, str(chart), _KUBERNETES), check=False)
    checks.that("chart: renders, and Kubernetes's schemas accept it", outcome.code == 0, found=outcome.text)
    if outcome.code == 0:
        found = json.loads(outcome.out)
        checks.equal(f"chart: helm {found['helm']} lint --strict finds nothing", found["findings"], [])
        checks.equal("chart: kinds", sorted(set(found["kinds"])), ["NetworkPolicy", "Service", "StatefulSet"])
        checks.equal("chart: an image without a digest is refused", found["unpinned"], "refused")


def check_units(folder: Path, scratch: Path, checks: Checks) -> None:
    """Let systemd judge the units.

    Args:
        folder: Of the units.
        scratch: For a copy in which the programs exist.
        checks: Where results go.
    """
    if shutil.which("systemd-analyze") is None:
        checks.skip("units", "systemd-analyze is not installed")
        return
    for unit in sorted(folder.glob("*.service")):
        name = unit.name
        copy = scratch / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        # The program of a unit must exist, and here is none: everything else stays as it is.
        text = unit.read_text(encoding="utf-8")
        path = next(line for line in text.splitlines() if line.startswith("ExecStart=")).partition("=")[2].split()[0]
        copy.write_text(text.replace(path, "/bin/true"), encoding="utf-8")
        verified = command(("systemd-analyze", "verify", "--man=no", str(copy)), check=False)
        checks.that(f"{name}: systemd-analyze verify", verified.code == 0 and not verified.text, found=verified.text)
        judged = command(("systemd-analyze", "security", "--offline=yes", "--no-pager", str(copy)), check=False)
        last = judged.out.strip().splitlines()[-1] if judged.out.strip() else judged.text
        figure = next((word for word in last.split() if word.replace(".", "", 1).isdigit()), "10")
        checks.that(
            f"{name}: exposure {figure} of 10, at most {_WORST_EXPOSURE}", float(figure) <= _WORST_EXPOSURE, found=last
        )


def check_bill_form(tools: Path, bill: Path, checks: Checks) -> None:
    """Hold a bill of materials beside the schema of CycloneDX 1.6."""
    outcome = command((str(tools / "python"), "-c", _BILL, str(bill)), check=False)
    checks.that(f"{bill.name}: is CycloneDX 1.6", outcome.code == 0, found=outcome.text)
