"""The small study over real Flower processes, and ways to kill any of them at a named point."""

import json
import os
import signal
import threading
import time
from pathlib import Path

from conf.processes.supervisor import PROCESSES_FILE
from experiments.engines.flower import run_with_flower
from federation.protocol.messages import read_envelope
from tests.e2e.test_engines import coordinate
from tests.small_study import manifest, site_folders

PROCESSES = ("superlink", "supernode-south", "agent-south")
ROUNDS = 10
POINTS = (
    "train/1/before", "evaluate/1/before", "train/2/during", "evaluate/3/during", "train/4/kept", "train/5/after",
    "evaluate/6/after", "train/7/before", "evaluate/8/before", "train/8/during", "train/9/kept", "evaluate/10/during",
)  # fmt: skip
"""Where a study is disturbed: before the requests of a round are sent, while they are under way, when the site has kept its reply but
the coordinator may not have it, and when every reply is there."""


def study(**changes):
    schedule = {"rounds": ROUNDS, "local_steps": 3, "batch_size": 16, "optimiser": {"learning_rate": 0.5}}
    return manifest(**({"algorithm": {"kind": "scaffold"}, "schedule": schedule} | changes))


def flower(agreed, folder, *, on_point=lambda point: None, deadline_seconds=240.0, prepare=lambda folders: None):
    """Run the study, or continue it; `on_point` is called at every point that is passed."""
    folders = {site: entry.path for site, entry in site_folders(folder, agreed).items()}
    prepare(folders)
    return run_with_flower(
        folders,
        lambda transport: coordinate(agreed, folder, Observed(transport, folders["south"], on_point)),
        folder=folder / "flower",
        deadline_seconds=deadline_seconds,
    )


class Observed:
    """A transport that tells which point of the study is passed."""

    def __init__(self, transport, south, on_point):
        self.transport, self.south, self.on_point = transport, south, on_point

    def exchange(self, requests):
        header = read_envelope(requests["south"]).header
        name = f"{header.kind.partition('_')[0]}/{header.round_number}"
        self.on_point(f"{name}/before")
        done = threading.Event()
        threads = [
            threading.Thread(target=self._during, args=(name, done), daemon=True),
            threading.Thread(target=self._kept, args=(name, header.round_number, done), daemon=True),
        ]
        for thread in threads:
            thread.start()
        yield from self.transport.exchange(requests)
        done.set()
        for thread in threads:
            thread.join()
        self.on_point(f"{name}/after")

    def _during(self, name, done):
        time.sleep(0.15)
        if not done.is_set():
            self.on_point(f"{name}/during")

    def _kept(self, name, number, done):
        path = self.south / f"replies/train-{number:06d}.bin"
        while not path.is_file() and not done.is_set():
            time.sleep(0.002)
        if not done.is_set():
            self.on_point(f"{name}/kept")

    def close(self):
        self.transport.close()


def pids(folder):
    """Program to process number, as the supervisor publishes it."""
    path = folder / "flower" / PROCESSES_FILE
    return json.loads(path.read_text()) if path.is_file() else {}


class Killer:
    """Kills one program at each of some points, once; remembers what it did."""

    def __init__(self, folder, target, points):
        self.folder, self.target, self.points, self.killed = folder, target, set(points), []

    def __call__(self, point):
        if point not in self.points:
            return
        self.points.discard(point)
        self.killed.append(point)
        os.kill(os.getpid() if self.target == "coordinator" else self._running(), signal.SIGKILL)

    def _running(self, seconds=60.0):
        """The target's process; it may have been killed at the point before and be on its way back."""
        end = time.monotonic() + seconds
        while not alive([number := pids(self.folder)[self.target]]):
            assert time.monotonic() < end, f"{self.target} does not come back"
            time.sleep(0.02)
        return number


def alive(numbers):
    """The processes among `numbers` that still run."""
    return [number for number in numbers if _state(number) not in ("", "Z")]


def _state(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def gone(numbers, seconds=10.0):
    """Whether all of them end in time."""
    end = time.monotonic() + seconds
    while alive(numbers) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(numbers)
