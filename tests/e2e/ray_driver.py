"""Joins a cluster in several ways and says what came of it, in a process of its own: Ray reads its environment once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.engines import ray as engine
from federation.errors import TransportError
from tests.small_study import manifest, site_folders


class _Holds:
    """Has a processor for as long as the cluster runs."""

    def is_here(self) -> bool:
        return True


def main(address: str, folder: Path) -> dict[str, Any]:
    quiet = engine.QUIET
    os.environ.update(quiet)
    import ray
    from ray._common.usage.usage_lib import usage_stats_enabled

    from experiments.engines import ray_cluster
    from experiments.engines.ray_cluster import joined

    folders = {site: entry.path for site, entry in site_folders(folder, manifest()).items()}

    def refused(change: Callable[[], None] = lambda: None) -> str:
        change()
        try:
            with joined(address, folders, environment=quiet):
                return "joined"
        except TransportError as failure:
            return str(failure)

    said: dict[str, Any] = {}
    with joined(address, folders, environment=quiet):
        said["worker"] = ray.get(ray.remote(lambda: {name: os.environ.get(name) for name in quiet}).remote())
        said["usage"] = usage_stats_enabled()
        said["nodes"] = sum(node["Alive"] for node in ray.nodes())
    said["connected"] = ray.is_initialized()
    said["left"] = [path.name for path in folder.rglob(".cluster-*")]

    real = ray_cluster.installed_files
    ray_cluster.installed_files = lambda: {"another": "code"}  # here, not at the workers
    said["code"] = refused()
    ray_cluster.installed_files = real

    ray.init(address=address, namespace="test", log_to_driver=False)
    holder: Any = ray.remote(num_cpus=1)(_Holds).options(name="holder", lifetime="detached").remote()
    ray.get(holder.is_here.remote())
    ray.shutdown()
    ray_cluster._FREE_SECONDS = 3.0
    said["busy"] = refused()
    return said


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
