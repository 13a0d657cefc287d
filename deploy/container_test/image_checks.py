"""What every image must be like: each is started with the restrictions of the compose files and looked at from inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from deploy import sbom
from deploy.container_test.checks import Checks
from deploy.container_test.engine import CONFINED, Engine

UIDS: Final = {"agent": 10001, "gateway": 10002, "aggregator": 10003}
STATE: Final = {
    "agent": "/var/lib/cohortium/site",
    "gateway": "/var/lib/cohortium/site/gateway/state",
    "aggregator": "/var/lib/cohortium/aggregator",
}
"""The one volume of each image."""
_PRESENT: Final = {
    "agent": {"torch", "opacus", "duckdb"},
    "gateway": {"flwr", "httpx"},
    "aggregator": {"torch", "flwr", "httpx", "mlflow"},
}
_NEVER: Final = {"pip", "pytest", "ray", "hydra"}
_ABSENT: Final = {
    "agent": {"flwr", "httpx", "mlflow"},
    "gateway": {"torch", "opacus", "duckdb", "mlflow", "sklearn"},
    "aggregator": {"opacus", "duckdb"},
}
_IMPORTS: Final = {
    "agent": "import site_client.hospital, site_client.study_agents, site_client.sources.tables",
    "gateway": "import site_client.gateway_process, site_client.gateway.supernode, sys; assert 'torch' not in sys.modules",
    "aggregator": "import aggregator.host.superlink_process, aggregator.host.gate_process, aggregator.host.mlflow_process",
}
_ENVIRONMENT: Final = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
_KERNELS: Final = ("/dev", "/proc", "/sys", "/tmp")  # noqa: S108 - a mount of the container
_PROBE: Final = Path(__file__).parent / "probe.py"


def check_image(engine: Engine, target: str, image: str, checks: Checks) -> None:
    """Look at one image.

    Args:
        engine: Runs it.
        target: Which of the three it is.
        image: Its name.
        checks: Where results go.
    """
    version = engine.run(image, "--version", check=False)
    checks.that(f"{target}: cohortium --version", version.out.startswith("cohortium "), found=version.text)
    imported = engine.python(image, _IMPORTS[target], check=False)
    checks.that(f"{target}: what it runs can be imported", imported.code == 0, found=imported.text)
    for name in sorted(_ABSENT[target] | _NEVER):
        outcome = engine.python(image, f"import {name}", check=False) if name in ("torch", "flwr") else None
        if outcome is not None:
            checks.that(f"{target}: import {name} fails", "ModuleNotFoundError" in outcome.error, found=outcome.text)
    _look_inside(engine, target, image, checks)
    _look_at_settings(engine, target, image, checks)


def _look_inside(engine: Engine, target: str, image: str, checks: Checks) -> None:
    mounted = ("--volume", f"{_PROBE}:/probe.py:ro")
    outcome = engine.run(image, "/probe.py", flags=(*CONFINED, *mounted), entrypoint="/opt/cohortium/bin/python")
    seen = json.loads(outcome.out)
    uid = UIDS[target]
    checks.equal(f"{target}: runs as user and group {uid}", (seen["uid"], seen["gid"]), (uid, uid))
    checks.equal(f"{target}: has no capability, and can get none", set(seen["capabilities"].values()), {0})
    checks.that(f"{target}: gains no privilege", seen["no_new_privileges"])
    checks.equal(f"{target}: without network there is loopback only", seen["interfaces"], ["lo"])
    checks.equal(f"{target}: no file gives the rights of another user", seen["setuid"], [])
    modules = set(seen["modules"])
    checks.equal(f"{target}: has what it needs", modules & _PRESENT[target], _PRESENT[target])
    checks.equal(f"{target}: has nothing that it must not have", modules & (_ABSENT[target] | _NEVER), set())
    own = sorted(place for place in seen["written"] if not place.startswith(_KERNELS))
    checks.equal(f"{target}: with a read-only root only its volume is written", own, [STATE[target]])
    told = {name: seen["environment"].get(name) for name in _ENVIRONMENT}
    checks.equal(f"{target}: nothing calls home", told, _ENVIRONMENT)
    checks.equal(
        f"{target}: nothing of this machine's pip is left",
        [name for name in seen["environment"] if name.startswith("PIP_")],
        [],
    )


def _look_at_settings(engine: Engine, target: str, image: str, checks: Checks) -> None:
    settings = json.loads(engine.podman("image", "inspect", image).out)[0]["Config"]
    checks.equal(f"{target}: declares its user", settings["User"], f"{UIDS[target]}:{UIDS[target]}")
    checks.equal(f"{target}: declares its volume", list(settings.get("Volumes", {})), [STATE[target]])
    ports = list(settings.get("ExposedPorts", {}))
    checks.equal(f"{target}: ports", ports, ["8443/tcp"] if target == "aggregator" else [])


def check_bill(engine: Engine, target: str, image: str, checks: Checks, *, output: Path) -> None:
    """Write an image's bill of materials, and hold it beside the one that the constraints promise.

    Args:
        engine: Mounts the image.
        target: Which of the three it is.
        image: Its name.
        checks: Where results go.
        output: Folder for the bill.
    """
    root = engine.podman("image", "mount", image).out.strip()
    try:
        sbom.main(["--target", target, "--root", root, "--output", str(output)])
    finally:
        engine.podman("image", "unmount", image)
    packages = _packages(json.loads((output / f"{target}.cdx.json").read_text(encoding="utf-8")))
    promised = _packages(sbom.of_environment(target))
    different = sorted(set(packages.items()) ^ set(promised.items()))
    checks.equal(f"{target}: holds exactly the packages of `make sbom`", different, [])


def _packages(content: dict[str, object]) -> dict[str, str]:
    """Name and version of the Python packages; a build of torch is not told apart from another."""
    components = content["components"]
    assert isinstance(components, list)  # noqa: S101 - our own document
    return {
        entry["name"]: entry["version"].partition("+")[0]
        for entry in components
        if entry["purl"].startswith("pkg:pypi/")
    }
