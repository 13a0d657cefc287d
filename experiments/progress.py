"""Progress of a simulation on a terminal: one line per stage, a bar for rounds."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from experiments.settings import SimulationSettings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from federation.study.result import RoundResult


class ProgressBoard:
    """Shows what is being trained. Silent without a console; without a terminal, one plain line per stage.

    Args:
        console: Where to show; ``None``: nowhere.
        settings: For the number of rounds and seeds.
    """

    def __init__(self, console: Console | None, settings: SimulationSettings) -> None:
        self._console = console
        self._settings = settings
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._label = ""
        self._prefix = ""

    def __enter__(self) -> Self:
        if self._console is not None and self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def seed(self, seed: int) -> None:
        """A new seed begins."""
        self._prefix = f"seed {seed} · " if len(self._settings.seeds) > 1 else ""
        self._label = ""

    def stage(self, label: str, result: RoundResult | None = None) -> None:
        """A stage begins, or one of its rounds is finished."""
        if label != self._label:
            self._begin(label, has_rounds=result is not None)
        if self._progress is not None and self._task is not None and result is not None:
            self._progress.update(self._task, completed=result.round_number, note=round_note(result))

    def _begin(self, label: str, *, has_rounds: bool) -> None:
        self._label = label
        if self._progress is not None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            total = self._settings.schedule.rounds if has_rounds else None
            self._task = self._progress.add_task(f"{self._prefix}{label}", total=total, note="")
        elif self._console is not None:
            self._console.print(f"{self._prefix}{label} …", highlight=False)


def round_note(result: RoundResult) -> str:
    """What the study released, or else what the simulator saw: then it says so."""
    shown = result.metrics or result.observed
    parts = [f"{name} {shown[name]:.3f}" for name in ("auroc", "accuracy", "rmse") if name in shown]
    if parts and not result.metrics:
        parts.append("seen by the simulator, not released")
    if result.exclusions:
        parts.append(f"left out: {', '.join(result.exclusions)}")
    if result.rolled_back:
        parts.append(f"rolled back: {result.rolled_back}")
    if result.unopened:
        parts.append(f"no update: {result.unopened}")
    if result.unevaluated:
        parts.append(f"not evaluated: {result.unevaluated}")
    if result.epsilon_spent:
        parts.append(f"epsilon {max(result.epsilon_spent.values()):.2f}")
    return " · ".join(parts)
