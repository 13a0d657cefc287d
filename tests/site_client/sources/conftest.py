"""A PostgreSQL server for the tests of this folder."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgresql_address() -> Iterator[str]:
    """``postgresql://...`` of a scratch database: the one of ``COHORTIUM_TEST_POSTGRESQL``, or a throw-away cluster.

    Skips by name where there is neither that variable nor an installed server, or no driver.
    """
    pytest.importorskip("psycopg", reason="the extra postgresql is not installed")
    pytest.importorskip("sqlalchemy", reason="the extra postgresql is not installed")
    given = os.environ.get("COHORTIUM_TEST_POSTGRESQL", "")
    if given:
        yield given
        return
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not servers:
        pytest.skip("PostgreSQL: COHORTIUM_TEST_POSTGRESQL is not set and /usr/lib/postgresql holds no server")
    yield from _throw_away_cluster(servers[-1].parent)


def _throw_away_cluster(binaries: Path) -> Iterator[str]:
    # The server refuses to run as root, and pytest's own folders are closed to others.
    account = pwd.getpwnam("nobody") if os.getuid() == 0 else None
    user = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="cohortium-postgresql-"))
    password = secrets.token_hex(8)
    (folder / "password").write_text(password)
    if account is not None:
        for path in (folder, folder / "password"):
            os.chown(path, account.pw_uid, account.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, log = folder / "data", folder / "log"
    control = [str(binaries / "pg_ctl"), "-D", str(data), "-w"]

    def call(*words: str) -> None:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, check=False, env={"LC_ALL": "C"}, **user
        )
        assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")

    options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -p {port} -c fsync=off"
    try:
        call(str(binaries / "initdb"), "-D", str(data), "-U", "tester", "-E", "UTF8", "-A", "scram-sha-256",
             "--pwfile", str(folder / "password"))  # fmt: skip
        # Its own log: a server that holds the pipe would never let `call` return.
        call(*control, "-l", str(log), "-o", options, "start")
        try:
            yield f"postgresql://tester:{password}@127.0.0.1:{port}/postgres"
        finally:
            call(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
