"""What privacy costs besides the gradients: charging a ledger, and secure noise."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch

from experiments.benchmarks.alternation import Comparison
from federation.privacy.events import SubsampledGaussian
from federation.privacy.noise import standard_normal
from federation.privacy.randomness import fresh_streams
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms

_DRAWS: Final = 1_000_000
_CHARGES: Final = 50
_HASH: Final = "0a" * 32
_STUDY: Final = "sha256:" + "0b" * 32


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


def _charges(folder: Path, *, whole_release: bool) -> Iterator[float]:
    """Seconds of so many charges, on one ledger that grows as a site's does."""
    terms = LedgerTerms(population="benchmark", site="benchmark", epsilon_cap=1000.0, delta=1e-5)
    event = SubsampledGaussian(noise_multiplier=8.0, sampling_numerator=2**46, steps=10)
    numbers = itertools.count(1)
    with Ledger.create(folder / "ledger.sqlite", terms, clock=_now) as ledger:
        while True:
            started = time.perf_counter()
            for number in itertools.islice(numbers, _CHARGES):
                made = ledger.reserve(study=_STUDY, release=f"train/{number}", request=_HASH, events=(event,))
                if whole_release:
                    ledger.sent(ledger.computed(made, _HASH))
            yield time.perf_counter() - started


def _synced_writes(folder: Path, *, times: int) -> float:
    """Seconds of as many appended and fsynced kilobytes: what durability itself costs on this disk."""
    content = bytes(1024)
    with (folder / "floor.bin").open("ab") as stream:
        started = time.perf_counter()
        for _ in range(times):
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        return time.perf_counter() - started


def _ledger_comparison(name: str, question: str, *, whole_release: bool, commits: int) -> Comparison:
    # The folder lives as long as the program; nothing is made before the first measurement.
    made: list[tuple[tempfile.TemporaryDirectory[str], Iterator[float]]] = []

    def folder() -> tuple[Path, Iterator[float]]:
        if not made:
            temporary = tempfile.TemporaryDirectory()
            made.append((temporary, _charges(Path(temporary.name), whole_release=whole_release)))
        return Path(made[0][0].name), made[0][1]

    return Comparison(
        name=name,
        question=question,
        ours=lambda: next(folder()[1]),
        floor=lambda: _synced_writes(folder()[0], times=commits * _CHARGES),
        units=_CHARGES,
        unit="release",
    )


def privacy_comparisons() -> tuple[Comparison, ...]:
    """Secure noise beside PyTorch's, and the ledger beside bare fsyncs."""
    generator = fresh_streams().stream("benchmark")

    def secure() -> None:
        standard_normal(_DRAWS, generator=generator)

    def insecure() -> None:
        torch.randn(_DRAWS)

    return (
        Comparison(
            name="secure_noise",
            question="a million ChaCha20 normals in float64 / torch.randn of a million in float32",
            ours=secure,
            floor=insecure,
            unit="million draws",
        ),
        _ledger_comparison("ledger_charge", "charging a round / one synced write", whole_release=False, commits=1),
        _ledger_comparison(
            "ledger_release", "reserve, computed and sent / three synced writes", whole_release=True, commits=3
        ),
    )
