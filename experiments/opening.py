"""The study and the hospitals of the first seed, prepared by copies of this process while it imports what trains.

Imports are half of a short simulation, and hold the interpreter's one lock: threads would take turns with them.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Final

from conf.processes.copied_process import pays_to_copy
from experiments.settings import SimulationSettings
from experiments.workspace import Workspace
from federation.errors import ConfigurationError

if TYPE_CHECKING:
    from experiments.preparation import PreparedSites
    from experiments.studies.catalogue import PreparedStudy
    from experiments.studies.loading_process import LoadingProcess

_TRAINS: Final = (
    "aggregator.outbox_tracker",
    "experiments.conclusion",
    "experiments.reporting",
    "experiments.study_run",
)
"""What is imported while hospitals are prepared."""


def open_simulation(settings: SimulationSettings, workspace: Workspace) -> tuple[PreparedStudy, PreparedSites]:
    """Everything that a simulation needs before it trains.

    Args:
        settings: The simulation's settings.
        workspace: Where it works.

    Returns:
        The study, and its sites as prepared for the first seed.

    Raises:
        CohortiumError: Whatever is wrong with records, manifest or study.
    """
    phases = workspace.phases
    with phases.importing():  # what a copy of this process needs, before it is made
        from experiments.studies.catalogue import study_module
        from experiments.studies.loading_process import LoadingProcess

        study_module(settings.study.name)
    _partition_seed(settings)  # a wrong one is told before anything is started
    if "torch" in sys.modules or not pays_to_copy():  # nothing is left to import meanwhile, or nobody to do so
        with phases.phase("preparation"):
            study = _load(settings, workspace)
            sites = _sites(settings, workspace, study)
        with phases.importing():
            _import_what_trains()
        return study, sites
    with LoadingProcess(lambda: _load(settings, workspace)) as loading:
        return _prepared_beside_imports(settings, workspace, loading)


def _prepared_beside_imports(
    settings: SimulationSettings, workspace: Workspace, loading: LoadingProcess
) -> tuple[PreparedStudy, PreparedSites]:
    """One copy has begun to load the study; the next one, made when more is imported, reads its hospitals."""
    phases = workspace.phases
    with phases.importing():
        from experiments.preparation_process import PreparationProcess

    def prepare() -> tuple[PreparedStudy, PreparedSites]:
        study = loading.study()
        return study, _sites(settings, workspace, study)

    with PreparationProcess(prepare) as process:
        with phases.importing():
            _import_what_trains()
        with phases.phase("preparation"):
            prepared, seconds = process.result()
    phases.note_beside("preparation", seconds)
    return prepared


def _load(settings: SimulationSettings, workspace: Workspace) -> PreparedStudy:
    """Draw the hospitals, or find their files."""
    from experiments.studies.catalogue import load_study

    return load_study(
        settings.study.name,
        options={name: value for name, value in settings.study.options.items() if name != "partition_seed"},
        seed=_partition_seed(settings),
        folder=workspace.output / "hospitals",
        data=workspace.data,
    )


def _partition_seed(settings: SimulationSettings) -> int:
    seed = settings.study.options.get("partition_seed", 0)
    if not isinstance(seed, int):
        raise ConfigurationError(f"expected study.options.partition_seed to be an integer, got {seed!r}")
    return seed


def _sites(settings: SimulationSettings, workspace: Workspace, study: PreparedStudy) -> PreparedSites:
    """The patients of the first seed, read and divided."""
    from experiments.preparation import prepare_sites

    first = settings.seeds[0]
    return prepare_sites(settings, study, seed=first, folder=workspace.patients(first), today=workspace.today)


def _import_what_trains() -> None:
    """Half of a short simulation."""
    import torch

    for name in _TRAINS:
        importlib.import_module(name)
    torch.set_num_threads(1)  # sums must not depend on the number of cores
