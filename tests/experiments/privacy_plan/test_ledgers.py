from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from experiments.privacy_plan.ledgers import parse_ledgers, read_rooms
from experiments.privacy_plan.planning import plan_of
from federation.errors import BudgetExhaustedError, ConfigurationError
from federation.privacy.accounting import epsilon_of
from federation.privacy.events import DiscreteGaussian
from site_client.ledger.ledger import Ledger
from site_client.ledger.terms import LedgerTerms
from tests.experiments.privacy_plan.planned_study import DELTA, private_study
from tests.small_study import manifest

EARLIER = DiscreteGaussian(sensitivity_squared=1, variance=60)


def _clock() -> dt.datetime:
    return dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def _ledger(path: Path, *, cap: float, site: str = "north") -> Path:
    """A ledger that an earlier study has drawn on."""
    terms = LedgerTerms(population="all-patients", site=site, epsilon_cap=cap, delta=DELTA)
    with Ledger.create(path, terms, clock=_clock) as ledger:
        ledger.reserve(study="earlier", release="train/1", request="0" * 64, events=[EARLIER])
    return path


def test_a_ledger_tells_what_remains(tmp_path: Path) -> None:
    study = private_study()
    room = read_rooms({"north": _ledger(tmp_path / "north.sqlite", cap=4.0)}, study)["north"]
    before = epsilon_of([EARLIER], delta=DELTA)
    after = epsilon_of([EARLIER, *study.privacy_events()], delta=DELTA)
    assert (room.population, room.epsilon_cap, room.delta) == ("all-patients", 4.0, DELTA)
    assert room.epsilon_spent == before
    assert room.epsilon_remaining == 4.0 - before
    assert room.epsilon_after == after
    assert after < before + 3.0  # epsilons do not add up: it fits although less than the promise remains
    assert room.admitted


@pytest.mark.parametrize("margin", [-1e-6, 1e-6])
def test_the_whole_charge_is_admitted_exactly_if_the_ledger_admits_every_round(tmp_path: Path, margin: float) -> None:
    study = private_study()
    after = epsilon_of([EARLIER, *study.privacy_events()], delta=DELTA)
    path = _ledger(tmp_path / "north.sqlite", cap=after + margin)
    room = read_rooms({"north": path}, study)["north"]
    assert room.admitted == (margin > 0)
    with Ledger.open(path, clock=_clock) as ledger:
        refused = 0
        for number, event in enumerate(study.privacy_events()):
            try:
                ledger.reserve(study=study.study, release=f"any/{number}", request="0" * 64, events=[event])
            except BudgetExhaustedError:
                refused += 1
    assert (refused == 0) == room.admitted


def test_looking_charges_nothing(tmp_path: Path) -> None:
    path = _ledger(tmp_path / "north.sqlite", cap=4.0)
    with Ledger.open(path, clock=_clock) as ledger:
        before = ledger.status()
    assert read_rooms({"north": path}, private_study()) == read_rooms({"north": path}, private_study())
    with Ledger.open(path, clock=_clock) as ledger:
        assert ledger.status() == before


def test_a_locked_ledger_admits_nothing(tmp_path: Path) -> None:
    path = _ledger(tmp_path / "north.sqlite", cap=100.0)
    older = path.read_bytes()
    with Ledger.open(path, clock=_clock) as ledger:
        ledger.reserve(study="earlier", release="train/2", request="0" * 64, events=[EARLIER])
        head = ledger.head()
    for rest in ("-wal", "-shm"):
        path.with_name(path.name + rest).unlink(missing_ok=True)
    path.write_bytes(older)
    with Ledger.open(path, clock=_clock) as ledger, pytest.raises(Exception, match="locked"):
        ledger.witness(head)
    room = read_rooms({"north": path}, private_study())["north"]
    assert (room.locked, room.admitted) == (True, False)


def test_only_the_sites_given_are_told(tmp_path: Path) -> None:
    study = private_study()
    rooms = read_rooms({"south": _ledger(tmp_path / "l.sqlite", cap=3.0, site="south")}, study)
    assert [site.ledger for site in plan_of(study, ledgers=rooms).sites] == [None, rooms["south"], None]


def test_another_sites_ledger_is_refused(tmp_path: Path) -> None:
    path = _ledger(tmp_path / "l.sqlite", cap=3.0, site="south")
    with pytest.raises(ConfigurationError, match=r"expected the ledger of site north at .*, got that of site south"):
        read_rooms({"north": path}, private_study())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["north"], "expected --ledger SITE=PATH, got 'north'"),
        (["north="], "expected --ledger SITE=PATH, got 'north='"),
        (["east=l"], "expected --ledger of a site of the roster, got 'east'"),
        (["north={here}", "north={here}"], "expected one --ledger for site north, got several"),
        (["north=nowhere"], "expected the ledger of site north at nowhere, got no such file"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    here = tmp_path / "l"
    here.touch()
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse_ledgers([option.format(here=here) for option in options], private_study())
    assert caught.value.remedy


def test_options_name_sites(tmp_path: Path) -> None:
    here = tmp_path / "a=b"
    here.touch()
    assert parse_ledgers([f"west={here}"], private_study()) == {"west": here}


def test_a_study_that_charges_no_ledger_has_no_use_for_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="expected --ledger with patient-level privacy, got privacy 'none'"):
        parse_ledgers([f"north={tmp_path}"], manifest())
    assert parse_ledgers([], manifest()) == {}
