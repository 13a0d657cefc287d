"""The blocks of a round, here or in worker processes: the same numbers, whoever computes them.

Operations on small matrices take microseconds, and two threads of Python would take turns at them. So workers are copies of this
process (`fork`), made when training begins: they hold records, streams and network already, and what travels is parameters, as
safetensors through pipes. A worker that cannot read or write its pipe any more ends.

How many places a step has sets the order in which a product adds up. So that a site's numbers do not hang on which sites are
computed beside it, all blocks of a step get as many places as the widest needs.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save

from experiments.engines.batched.block_training import Block, BlockTraining, RoundStart, Rows
from experiments.engines.batched.blocks import BlockPlan
from experiments.engines.batched.draws import Draws
from federation.errors import StudyError
from site_client.patients import SiteData

_FAILED: Final = b""
"""Instead of an answer: this process computes the block itself then, and fails the same way."""
_SECONDS_TO_END: Final = 5.0

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Names of glibc's ``malloc.h``."""
_LARGEST_KEPT: Final = 2**25
"""Bytes of one array; glibc takes no more."""
_MOST_KEPT: Final = 2**30
"""Bytes that are free at the end of the heap."""


class Crew(Protocol):
    """Who computes the blocks."""

    def train(self, start: RoundStart) -> Iterator[Rows]:
        """Every block's rows, in order."""
        ...

    def close(self) -> None:
        """End what was started. Safe to call twice."""
        ...


def start_crew(training: BlockTraining, plan: BlockPlan, sites: Sequence[SiteData], *, first_round: int) -> Crew:
    """Those who compute the sites of a study.

    Args:
        training: What the sites share.
        plan: How they are divided.
        sites: In roster order.
        first_round: The round that is trained first; the others follow one after another.
    """
    blocks = [training.stacked(group) for group in plan.groups(sites)]
    if plan.num_workers == 1 or len(blocks) == 1:
        return Alone(training, blocks, is_even=plan.is_even)
    return Workers(training, blocks, num_workers=plan.num_workers, is_even=plan.is_even, first_round=first_round)


class Alone:
    """All blocks in this process, one after another.

    Args:
        training: What they share.
        blocks: Of the study.
        is_even: Whether all blocks of a step get as many places as the widest needs; else each gets its own.
    """

    def __init__(self, training: BlockTraining, blocks: Sequence[Block], *, is_even: bool) -> None:
        self._training, self._blocks, self.is_even = training, tuple(blocks), is_even

    def train(self, start: RoundStart) -> Iterator[Rows]:
        """See :class:`Crew`."""
        draws, widths = self.drawn(start.round_number)
        for number, (own, their) in enumerate(zip(draws, widths, strict=True)):
            yield self.trained(number, start, own, their)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    @property
    def sites(self) -> list[str]:
        """Of all blocks."""
        return [site.site for block in self._blocks for site in block.sites]

    def drawn(self, round_number: int) -> tuple[list[Draws], list[list[int]]]:
        """Draws of every block, and the places that its steps get."""
        draws = [self._training.draw(block, round_number) for block in self._blocks]
        widths = [block.stack.widths(own.places) for block, own in zip(self._blocks, draws, strict=True)]
        return draws, [_most(widths)] * len(widths) if self.is_even else widths

    def trained(self, number: int, start: RoundStart, draws: Draws, widths: Sequence[int]) -> Rows:
        """The rows of one block."""
        return self._training.train(self._blocks[number], start, draws, widths)

    def close(self) -> None:
        """See :class:`Crew`."""
        self._blocks = ()


class Workers:
    """Blocks in turn among copies of this process.

    Args:
        training: What the blocks share.
        blocks: Of the study; more than one.
        num_workers: From 1; at most one for each block is made.
        is_even: See :class:`Alone`.
        first_round: The round that is trained first; the others follow one after another.
    """

    def __init__(
        self,
        training: BlockTraining,
        blocks: Sequence[Block],
        *,
        num_workers: int,
        is_even: bool,
        first_round: int,
    ) -> None:
        count = min(num_workers, len(blocks))
        self._own = [Alone(training, blocks[number::count], is_even=is_even) for number in range(count)]
        self._one = [Alone(training, [block], is_even=is_even) for block in blocks]
        self._is_even = is_even
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        context = get_context("fork")
        for number, own in enumerate(self._own):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work,
                args=(theirs, own, [*self._pipes, ours], first_round),
                name=f"sites-{number}",
                daemon=True,
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def train(self, start: RoundStart) -> Iterator[Rows]:
        """See :class:`Crew`.

        Raises:
            StudyError: If a worker ended.
        """
        widths = self._widths(start.round_number)
        for number, own in enumerate(self._own):
            self._send(number, _packed(start, widths, sites=own.sites))
        for number, alone in enumerate(self._one):
            answer = self._receive(number % len(self._pipes))
            if answer != _FAILED:
                yield load(answer)["rows"]
                continue
            (draws,), (own,) = alone.drawn(start.round_number)
            yield alone.trained(0, start, draws, widths if self._is_even else own)

    def _widths(self, round_number: int) -> list[int]:
        """The places of each step that the widest block needs: every worker has drawn, and says what its own need."""
        needed: list[list[int]] = []
        for number, own in enumerate(self._own):
            answer = self._receive(number)
            needed.append(_numbers(answer) if answer != _FAILED else _most(own.drawn(round_number)[1]))
        return _most(needed)

    def _send(self, number: int, content: bytes) -> None:
        try:
            self._pipes[number].send_bytes(content)
        except OSError as failure:
            raise self._ended(number) from failure

    def _receive(self, number: int) -> bytes:
        try:
            return self._pipes[number].recv_bytes()
        except (EOFError, OSError) as failure:
            raise self._ended(number) from failure

    def _ended(self, number: int) -> StudyError:
        process = self._processes[number]
        process.join(_SECONDS_TO_END)
        code = process.exitcode
        how = "without a word" if code is None else f"by signal {-code}" if code < 0 else f"with {code}"
        return StudyError(
            f"expected worker {number + 1} of {len(self._processes)} of the batched engine to train its sites, it ended {how}",
            remedy="if memory ran out, lower engine.memory_mib or take engine.num_workers=1; the same command goes on from the "
            "last commit",
        )

    def close(self) -> None:
        """See :class:`Crew`."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.kill()  # it holds nothing that is not here
            process.join(_SECONDS_TO_END)
        self._pipes, self._processes = [], []


def _most(widths: Sequence[Sequence[int]]) -> list[int]:
    return [max(of_step) for of_step in zip(*widths, strict=True)]


def _numbers(content: bytes) -> list[int]:
    return np.frombuffer(content, dtype=np.int64).tolist()


def _packed(start: RoundStart, widths: Sequence[int], *, sites: Sequence[str]) -> bytes:
    arrays: dict[str, NDArray[np.generic]] = {
        "round": np.array([start.round_number]),
        "widths": np.array(widths),
        "parameters": start.parameters,
    }
    arrays |= {f"broadcast/{name}": array for name, array in start.broadcast.items()}
    for site in sites:
        arrays |= {f"state/{site}/{name}": array for name, array in start.states[site].items()}
    return save(arrays)


def _unpacked(content: bytes, own: Alone) -> tuple[RoundStart, list[int]]:
    arrays = load(content)
    broadcast: dict[str, NDArray[np.float64]] = {}
    states: dict[str, dict[str, NDArray[np.float64]]] = {site: {} for site in own.sites}
    for key, array in arrays.items():
        match key.split("/"):
            case ["broadcast", name]:
                broadcast[name] = array
            case ["state", site, name]:
                states[site][name] = array
            case _:
                continue
    return RoundStart(int(arrays["round"][0]), arrays["parameters"], broadcast, states), arrays["widths"].tolist()


def _work(pipe: Connection, own: Alone, others: Sequence[Connection], first_round: int) -> None:
    """A worker: answers until its pipe is closed. An interrupt of the terminal is for the process that it was copied from."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in others:
        other.close()
    gc.freeze()  # what was copied is not looked through, which would write to it
    _keep_freed_memory()
    torch.set_num_threads(1)
    try:
        for round_number in itertools.count(first_round):
            _answer(pipe, own, round_number)
    except (EOFError, OSError):
        os._exit(0)


def _keep_freed_memory() -> None:
    """What a round frees serves the next one. Handed back to the system, its pages are made anew: a tenth of a private round.

    With glibc; elsewhere nothing changes.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)


def _answer(pipe: Connection, own: Alone, round_number: int) -> None:
    """One round, drawn while the round before is folded. What fails here fails, and is told, in the process that asked."""
    draws: list[Draws] = []
    widths: list[list[int]] = []
    needed = _FAILED
    with suppress(Exception):
        draws, widths = own.drawn(round_number)
        needed = np.array(_most(widths)).tobytes()
    pipe.send_bytes(needed)
    start, even = _unpacked(pipe.recv_bytes(), own)
    for number in range(len(own)):
        answer = _FAILED
        with suppress(Exception):
            answer = save({"rows": own.trained(number, start, draws[number], even if own.is_even else widths[number])})
        pipe.send_bytes(answer)
