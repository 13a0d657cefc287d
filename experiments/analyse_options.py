"""Options that the commands of exact statistics share, and the files that they all write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

RESULT_FILE: Final = "result.json"
COMMAND_FILE: Final = "command.txt"
MEMORY: Final = Path("outputs") / "answers"

Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The result's folder. Otherwise outputs/STUDY/DATE-TIME.")
]
Data = Annotated[
    Path | None, typer.Option("--data", envvar="COHORTIUM_DATA", help="Folder of downloaded hospital records.")
]
Memory = Annotated[
    Path, typer.Option("--memory", help="What sites and centre remember of earlier answers, against differencing.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout and nothing else.")]
