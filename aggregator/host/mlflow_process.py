"""The MLflow server: loopback, a password, no unpickling, no jobs, no telemetry.

What ``mlflow server --app-name basic-auth`` starts, in this process: its command starts another process, which would outlive
the supervisor. Only this host's coordinators write to it; people read it through a tunnel or a proxy of their own.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from aggregator.host.home import LOOPBACK
from aggregator.host.home_paths import HostLayout, read_small
from aggregator.mlflow_delivery import HARDENED
from federation.durable_files import write_durably

ADMIN = "admin"


def main(words: Sequence[str] | None = None) -> None:
    """``python -m conf.processes.child aggregator.host.mlflow_process:main --home FOLDER``."""
    parser = argparse.ArgumentParser(description="MLflow on loopback.")
    parser.add_argument("--home", type=Path, required=True)
    layout = HostLayout(parser.parse_args(words).home)
    port = layout.read().mlflow_port
    os.environ.update(_settings(layout, port))
    import uvicorn
    from mlflow.server.auth import bootstrap_admin_user, create_app
    from mlflow.server.handlers import initialize_backend_stores

    database = _database(layout)
    initialize_backend_stores(database, database, "mlflow-artifacts:/")
    bootstrap_admin_user()
    uvicorn.run(
        create_app(),
        host=LOOPBACK,
        port=port,
        workers=1,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
    )


def _settings(layout: HostLayout, port: int) -> dict[str, str]:
    """Environment of MLflow, set before it is imported. The names with an underscore are what its own command sets."""
    folder = layout.state / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(
        folder / "auth.ini",
        "\n".join(
            (
                "[mlflow]",
                "default_permission = NO_PERMISSIONS",
                f"database_uri = sqlite:///{folder / 'accounts.sqlite'}",
                f"admin_username = {ADMIN}",
                "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
            )
        ).encode(),
        secret=True,
    )
    return {
        **HARDENED,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": read_small(layout.tracking_password, what="MLflow's password").decode(),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": read_small(layout.tracking_cookie_key, what="MLflow's cookie key").decode(),
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{LOOPBACK}:{port},localhost:{port}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "_MLFLOW_SERVER_FILE_STORE": _database(layout),
        "_MLFLOW_SERVER_REGISTRY_STORE": _database(layout),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artefacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
    }


def _database(layout: HostLayout) -> str:
    return f"sqlite:///{layout.state / 'mlflow' / 'runs.sqlite'}"
