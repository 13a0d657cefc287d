"""Every charge of a ledger is found, and one that was made twice is damage."""

import contextlib
import datetime as dt
from pathlib import Path

import pytest

from experiments.rehearsal.charges import charges
from federation.errors import LedgerDamagedError
from federation.privacy.events import DiscreteGaussian
from site_client.ledger.entries import Computed, Reserved, decode, following
from site_client.ledger.ledger import Ledger
from site_client.ledger.store import Store
from site_client.ledger.terms import LedgerTerms

EVENT = DiscreteGaussian(sensitivity_squared=1, variance=100)


def made(path: Path, *releases: str) -> Path:
    terms = LedgerTerms(population="north", site="north", epsilon_cap=100.0, delta=1e-5)
    ledger = Ledger.create(path, terms, clock=lambda: dt.datetime(2031, 1, 1, tzinfo=dt.UTC))
    for number, release in enumerate(releases):
        ledger.reserve(study="this", release=release, request=f"{number:064x}", events=[EVENT])
    ledger.close()
    return path


def test_every_charge_is_found_with_what_it_costs(tmp_path: Path) -> None:
    found = charges(made(tmp_path / "one.sqlite", "train/1", "train/2"), study="this")
    assert sorted(found) == ["train/1", "train/2"]
    assert found["train/1"] == found["train/2"]
    assert any(found["train/1"])
    assert charges(tmp_path / "one.sqlite", study="another") == {}


@pytest.mark.parametrize("what", ["reserved", "computed"])
def test_a_release_that_is_charged_or_computed_twice_is_damage(tmp_path: Path, what: str) -> None:
    path = made(tmp_path / "one.sqlite", "train/1")
    with contextlib.closing(Store(path)) as store:
        rows = list(store.rows())
    (number, reserved) = next((row.sequence, decode(row)) for row in rows if isinstance(decode(row), Reserved))
    computed = Computed(at="2031-01-01", reservation=number, released="00" * 32)
    for entry in {"reserved": [reserved], "computed": [computed, computed]}[what]:
        rows.append(following(rows[-1].sequence, rows[-1].entry_hash, entry))
    Store.create(tmp_path / "twice.sqlite", rows)
    with pytest.raises(LedgerDamagedError, match="expected one"):
        charges(tmp_path / "twice.sqlite", study="this")
