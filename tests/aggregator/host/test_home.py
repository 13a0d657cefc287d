"""The host's folder: strict settings, secrets that only their owner reads, and nothing that is there is overwritten."""

from __future__ import annotations

import stat

import pytest
from pydantic import ValidationError

from aggregator.host.home import AggregatorHome, GateLimits
from aggregator.host.home_paths import HostLayout, read_small
from aggregator.host.preparing import prepare_home
from federation.errors import InvalidInputError


def settings(**changes):
    data = {
        "consortium": "hearts",
        "gate": "gate.example.org:8443",
        "listen": "0.0.0.0:8443",
        "superlink_port": 9440,
        "mlflow_port": 9441,
        "health_port": 9442,
        "gate_health_port": 9443,
    }
    return AggregatorHome.from_data(data | changes, error=InvalidInputError)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_secret_is_readable_for_its_owner_only(tmp_path):
    layout = HostLayout(tmp_path / "host")
    prepare_home(layout, settings())
    assert all(mode(folder) == 0o700 for folder in (layout.folder, layout.state, layout.logs, layout.studies))
    secret = (
        layout.executor_secret,
        layout.gate_token,
        layout.control_token,
        layout.tracking_password,
        layout.tracking_cookie_key,
        layout.coordinator_key,
    )
    assert all(mode(path) == 0o600 for path in secret)
    assert len({path.read_bytes() for path in secret}) == len(secret)
    assert all(len(path.read_bytes()) >= 32 for path in secret)
    assert layout.read() == settings()


def test_preparing_again_keeps_every_secret_and_refuses_other_settings(tmp_path):
    layout = HostLayout(tmp_path / "host")
    prepare_home(layout, settings())
    before = {path: path.read_bytes() for path in layout.folder.rglob("*") if path.is_file()}
    prepare_home(layout, settings())
    assert {path: path.read_bytes() for path in layout.folder.rglob("*") if path.is_file()} == before
    with pytest.raises(InvalidInputError, match="another host's"):
        prepare_home(layout, settings(mlflow_port=9999))


@pytest.mark.parametrize(
    "changes",
    [
        {"consortium": "Not A Name"},
        {"gate": "no-port"},
        {"listen": "0.0.0.0"},
        {"superlink_port": 0},
        {"superlink_port": 65536},
        {"reread_seconds": 6.0},
        {"limits": {"largest_body": 2**40}},
        {"limits": {"unknown": 1}},
        {"surprise": 1},
    ],
)
def test_settings_are_strict(changes):
    with pytest.raises(InvalidInputError):
        settings(**changes)


def test_a_revocation_can_never_be_believed_late():
    with pytest.raises(ValidationError):
        AggregatorHome(**(settings().model_dump() | {"reread_seconds": 60.0}))


def test_the_largest_body_holds_one_piece_of_a_message():
    from aggregator.flower_messages import PIECE_BYTES

    assert GateLimits().largest_body > PIECE_BYTES + 64 * 1024


def test_missing_and_oversized_files_are_errors_with_a_remedy(tmp_path):
    with pytest.raises(InvalidInputError, match="settings") as failure:
        HostLayout(tmp_path).read()
    assert "init" in failure.value.remedy
    (tmp_path / "large").write_bytes(b" " * 70_000)
    with pytest.raises(InvalidInputError, match="at most"):
        read_small(tmp_path / "large", what="something")
