"""Composing settings with Hydra: the only home of hydra and omegaconf.

Hydra composes plain data; nothing is instantiated from it, no resolver is used and no interpolation survives. A single
run uses Hydra's compose API, which writes nothing and leaves logging alone. A sweep uses ``hydra.main`` with its
sweeper and launcher, after every job of it has been composed and validated here, so that no sweep starts that would
fail on a typing mistake.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.groups import GROUPS
from conf.mistakes import first_line, kind_by_itself, refuse_unsafe_override, unknown_setting, wrong_choice
from conf.validation import DocumentT, Tree, build
from federation.errors import ConfigurationError, InternalError

_VERSION_BASE: Final = "1.3"
_CONFIG: Final = "config"
_CONFIG_PATH: Final = "pkg://conf"

SweepJob = Callable[[Tree, Path], None]
"""Runs one job of a sweep: its composed tree and its output folder. A module-level function, or a partial of one."""


def load(kind: type[DocumentT], overrides: Sequence[str]) -> DocumentT:
    """Compose and validate.

    Args:
        kind: The document that the settings must be.
        overrides: ``GROUP=OPTION`` and ``KEY=VALUE``, as typed.

    Raises:
        ConfigurationError: With one line per mistake.
    """
    return build(kind, compose(overrides))


def load_unless_sweep(kind: type[DocumentT], overrides: Sequence[str]) -> DocumentT | None:
    """:func:`load`, or ``None`` where :func:`sweeps_by_itself` holds; composed only once where nothing typed is special.

    Raises:
        ConfigurationError: With one line per mistake.
    """
    parsed = _parse(overrides)
    if any(override.is_sweep_override() or override.is_hydra_override() for override in parsed):
        return None if sweeps_by_itself(overrides) else load(kind, overrides)
    composed = _compose_checked(parsed)
    return None if _is_multirun(composed) else build(kind, _plain(composed))


def compose(overrides: Sequence[str]) -> Tree:
    """Compose the settings of a single run as plain data, every key written out.

    Raises:
        ConfigurationError: With one line per mistake.
    """
    parsed = _parse(overrides)
    for override in parsed:
        if override.is_hydra_override():
            raise ConfigurationError(f"{override.input_line!r}: hydra settings are for sweeps only; add -m")
        if override.is_sweep_override():
            raise ConfigurationError(f"{override.input_line!r} has several values: add -m to sweep over them")
    return _plain(_compose_checked(parsed))


def sweep_jobs(overrides: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The overrides of each job of a sweep, in the order in which Hydra's basic sweeper numbers them.

    An experiment may bring a sweep of its own (``hydra.sweeper.params``); what is typed wins over it.

    Raises:
        ConfigurationError: With one line per mistake.
    """
    parsed = _parse(overrides)
    fixed = [override for override in parsed if not override.is_sweep_override()]
    node = _compose_checked([o for o in fixed if o.key_or_group in GROUPS or o.is_hydra_override()]).hydra
    params = [f"{key}={value}" for key, value in (node.sweeper.get("params") or {}).items()]
    choices: dict[str, list[str]] = {}
    for override in (*_parse(params), *(o for o in parsed if not o.is_hydra_override())):
        key = override.get_key_element()
        if not override.is_sweep_override():
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ConfigurationError(f"{override.input_line!r}: expected values such as {key}=1,2,4, got an interval")
    return tuple(itertools.product(*choices.values()))


def sweeps_by_itself(overrides: Sequence[str]) -> bool:
    """Whether the settings ask for a sweep without ``-m`` (``hydra.mode: MULTIRUN`` in an experiment)."""
    parsed = [o for o in _parse(overrides) if not o.is_sweep_override()]
    return _is_multirun(_compose_checked(parsed))


def _is_multirun(composed: DictConfig) -> bool:
    mode = composed.hydra.mode
    return mode is not None and mode.name == "MULTIRUN"


def run_sweep(overrides: Sequence[str], *, folder: Path, job: SweepJob) -> None:
    """Run every job of a sweep with Hydra's sweeper and launcher (two processes, unless overridden).

    Args:
        overrides: As typed; ``hydra.*`` too.
        folder: Receives one numbered folder per job.
        job: Runs one job in a worker process. Must not raise: one failed job would hide the others.

    Raises:
        InternalError: If a job raised all the same, or Hydra failed after every job had been composed.
    """
    _parse(overrides)

    def task(config: DictConfig) -> None:
        job(_plain(config), Path(HydraConfig.get().runtime.output_dir))

    entry = hydra.main(config_path=_CONFIG_PATH, config_name=_CONFIG, version_base=_VERSION_BASE)(task)
    place = f"hydra.sweep.dir={_quoted(str(folder.resolve()))}"
    # hydra.main has no argument for overrides: it reads the command line.
    command_line = sys.argv
    sys.argv = ["cohortium", "--multirun", *overrides, place]
    try:
        entry()
    except (SystemExit, HydraException) as failure:
        raise InternalError(f"the sweep in {folder} stopped: {first_line(failure)}") from failure
    finally:
        sys.argv = command_line


def _parse(overrides: Sequence[str]) -> list[Override]:
    for line in overrides:
        refuse_unsafe_override(line)
    parser = OverridesParser.create()
    parsed: list[Override] = []
    for line in overrides:
        try:
            override = parser.parse_override(line)
            if not override.key_or_group:
                raise HydraException("no key")  # noqa: TRY301 - one message for both
            parsed.append(override)
        except HydraException as failure:
            raise ConfigurationError(
                f"cannot read {line!r}: expected GROUP=OPTION or KEY=VALUE (put quotes around special characters)"
            ) from failure
    return parsed


def _compose_checked(overrides: Sequence[Override]) -> DictConfig:
    lines = [cast("str", override.input_line) for override in overrides]
    try:
        mistakes = _wrong_choices(overrides)
        if not mistakes:
            return _compose(lines)
    except (HydraException, OmegaConfBaseException, ValueError) as failure:
        mistakes = _wrong_settings(overrides) or [f"these settings do not compose: {first_line(failure)}"]
        raise ConfigurationError("\n".join(mistakes)) from failure
    raise ConfigurationError("\n".join(mistakes))


def _compose(lines: Sequence[str]) -> DictConfig:
    with hydra.initialize_config_module("conf", version_base=_VERSION_BASE, job_name="cohortium"):
        return hydra.compose(_CONFIG, overrides=list(lines), return_hydra_config=True)


def _wrong_choices(overrides: Sequence[Override]) -> list[str]:
    lines = (
        wrong_choice(
            override.key_or_group,
            override.value(),
            prefix=override.get_key_element().removesuffix(override.key_or_group),
        )
        if override.key_or_group in GROUPS
        else kind_by_itself(override.key_or_group)
        for override in overrides
    )
    return [line for line in lines if line is not None]


def _wrong_settings(overrides: Sequence[Override]) -> list[str]:
    """Compose the chosen options alone, and see which of the other overrides name nothing in the result."""
    composed = _compose([cast("str", override.input_line) for override in overrides if override.key_or_group in GROUPS])
    choices = {str(group): str(option) for group, option in composed.hydra.runtime.choices.items()}
    tree = cast("Tree", OmegaConf.to_container(composed, resolve=False))
    lines = (
        unknown_setting(override.key_or_group, tree, choices)
        for override in overrides
        if override.key_or_group not in GROUPS and "/" not in override.key_or_group and not override.is_add()
    )
    return [line for line in lines if line is not None]


def _plain(config: DictConfig) -> Tree:
    tree = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False))
    tree.pop("hydra", None)
    return tree


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
