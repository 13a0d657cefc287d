"""Real SuperLink, SuperNode and agent processes on loopback give the same model as `inline`, and leave nothing behind."""

import dataclasses
import socket
from pathlib import Path

import pytest

from experiments.engines import flower as engine
from experiments.engines.flower import run_with_flower
from federation.errors import QuorumError, TransportError
from tests.e2e.flower_study import alive, flower, gone, pids, study
from tests.e2e.test_engines import inline
from tests.small_study import SITES, private, site_folders

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets"),
    pytest.mark.filterwarnings("ignore"),  # Flower's own
]


def same(one, other):
    return one.parameters.tobytes() == other.parameters.tobytes() and [r.model_digest for r in one.rounds] == [
        r.model_digest for r in other.rounds
    ]


def test_inline_and_flower_give_the_same_model_bit_for_bit_and_no_process_is_left(tmp_path):
    agreed = study(schedule={"rounds": 2, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}})
    seen = {}
    expected = inline(agreed, tmp_path / "inline")
    found = flower(agreed, tmp_path / "flower", on_point=lambda point: seen.update(pids(tmp_path / "flower")))
    assert same(expected, found)
    assert expected.rounds[-1].metrics == found.rounds[-1].metrics
    assert found.rounds[-1].contributors == SITES
    assert set(seen) == {"superlink"} | {f"{kind}-{site}" for kind in ("agent", "supernode") for site in SITES}
    assert alive(seen.values()) == []


@pytest.mark.slow
def test_a_private_study_gives_the_same_model_and_only_loopback_listens(tmp_path):
    four_rounds = {"rounds": 4, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}
    agreed = study(privacy=private(), schedule=four_rounds)
    listening = set()
    found = flower(agreed, tmp_path / "flower", on_point=lambda point: listening.update(listeners(tmp_path / "flower")))
    assert same(inline(agreed, tmp_path / "inline"), found)
    assert len(listening) == 1 + len(SITES)
    assert {address for address, _ in listening} == {"0100007F"}


def listeners(folder):
    """(address, port) of the listening TCP sockets of the study's processes, as /proc writes them."""
    inodes = set()
    for number in pids(folder).values():
        for descriptor in Path(f"/proc/{number}/fd").iterdir():
            try:
                inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
            except OSError:
                continue
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                yield tuple(fields[1].split(":"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_where_flowers_loop_is_another_messages_go_at_its_own_pace_with_the_same_model(tmp_path, monkeypatch):
    """The hooks that make it fast are left out, and a line in the log says so; with them the model is no other."""
    agreed = study(schedule={"rounds": 2, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}})
    with_hooks = flower(agreed, tmp_path / "hooks")
    supernodes = engine._supernodes
    monkeypatch.setattr(
        engine,
        "_supernodes",
        lambda *arguments, **options: [
            dataclasses.replace(program, entry="tests.e2e.another_loop:main")
            for program in supernodes(*arguments, **options)
        ],
    )
    found = flower(agreed, tmp_path / "flower", deadline_seconds=600.0)
    assert same(with_hooks, found)
    assert same(inline(agreed, tmp_path / "inline"), found)
    for site in SITES:
        log = (tmp_path / "flower" / "flower" / f"supernode-{site}.log").read_text()
        assert "at its own pace: _push_messages" in log
        assert log.count("the executor answers") == 1, "and it did not start again"
    assert "at its own pace" not in (tmp_path / "hooks" / "flower" / "supernode-south.log").read_text()


@pytest.mark.slow
def test_no_process_outlives_a_failure_of_the_coordinator(tmp_path):
    seen = {}

    def fail(point):
        seen.update(pids(tmp_path))
        if point == "train/2/before":
            raise QuorumError("on purpose")

    with pytest.raises(QuorumError, match="on purpose"):
        flower(study(), tmp_path, on_point=fail)
    assert len(seen) == 7
    assert alive(seen.values()) == []


@pytest.mark.slow
def test_ctrl_c_ends_every_process(tmp_path):
    seen = {}

    def interrupt(point):
        seen.update(pids(tmp_path))
        if point == "train/2/before":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flower(study(), tmp_path, on_point=interrupt)
    assert gone(seen.values())


@pytest.mark.slow
def test_a_site_that_cannot_start_ends_the_study_with_the_name_of_its_log(tmp_path):
    folders = {site: entry.path for site, entry in site_folders(tmp_path, study()).items()}
    (folders["south"] / "site.json").unlink()
    with pytest.raises(TransportError, match="agent-south to start, it ended") as failure:
        run_with_flower(folders, lambda transport: pytest.fail("it started"), folder=tmp_path / "flower")
    assert str(tmp_path / "flower" / "agent-south.log") in str(failure.value)
