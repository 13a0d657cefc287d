"""Engines in which every site is a real agent with a folder: in this process, in Ray's, or in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import assert_never

from aggregator.transport import Transport
from experiments.engines.inline import InlineTransport
from experiments.ray_choice import RayEngine
from experiments.settings import FlowerEngine, InlineEngine
from federation.study.result import StudyResult
from site_client.agent import SiteAgent
from site_client.site_folder import SiteFolder


def run_with_agents(
    engine: InlineEngine | RayEngine | FlowerEngine,
    coordinate: Callable[[Transport], StudyResult],
    folders: Mapping[str, SiteFolder],
    folder: Path,
) -> StudyResult:
    """Run a study with a real agent for every folder.

    Args:
        engine: Where the agents run.
        coordinate: Runs the study over a transport.
        folders: Site to its folder.
        folder: Of the study.
    """
    match engine:
        case InlineEngine():
            agents = {site: SiteAgent(entry).handle for site, entry in folders.items()}
            return coordinate(InlineTransport(agents))
        case RayEngine(num_workers=num_workers, address=address):
            from experiments.engines.ray import run_with_ray

            paths = {site: entry.path for site, entry in folders.items()}
            return run_with_ray(paths, coordinate, num_workers=num_workers, address=address)
        case FlowerEngine(deadline_seconds=deadline_seconds):
            from experiments.engines.flower import run_with_flower

            paths = {site: entry.path for site, entry in folders.items()}
            return run_with_flower(paths, coordinate, folder=folder / "flower", deadline_seconds=deadline_seconds)
        case _:
            assert_never(engine)
