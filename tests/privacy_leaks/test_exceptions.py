"""No patient's name leaves a site, whatever fails there and however it is said."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator

import pytest

from federation import errors
from federation.protocol.messages import Refusal, read_envelope
from site_client.ledger.ledger import Ledger
from tests.privacy_leaks.canaries import FAMILIES, NAMES, NUMBER, found_in
from tests.privacy_leaks.forced_errors import ERRORS
from tests.privacy_leaks.leaving import FAILING, Left, run_failing_study
from tests.small_study import now

CLASSES = {name for name, found in vars(errors).items() if isinstance(found, type)}


class _Kept(logging.Handler):
    """What a site writes to its own log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.lines.append(self.format(record))
        except ValueError as failure:  # an exception that cannot be shown
            self.lines.append(str(failure))


LOG = _Kept()


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    logger = logging.getLogger("cohortium.site")
    logger.addHandler(LOG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "raiseExceptions", False)
        yield run_failing_study(tmp_path_factory.mktemp("canaries"))
    logger.removeHandler(LOG)


def test_a_thousand_names_and_fifty_errors() -> None:
    assert len(set(NAMES)) == len(set(FAMILIES)) == NUMBER == 1000
    assert all(family in name for family, name in zip(FAMILIES, NAMES, strict=True))
    assert len(ERRORS) >= 50
    places = {(id(error.place), error.attribute) for error in ERRORS.values()}
    assert len(places) >= 40


@pytest.mark.parametrize("name", [NAMES[0], NAMES[1], NAMES[2], NAMES[3]])
def test_the_search_finds_a_name_in_every_form(name: str) -> None:
    family = FAMILIES[NAMES.index(name)]
    for content in (
        name.encode(),
        b"\0\1" + name.upper().encode() + b"\2",
        family.encode("utf-16-le"),
        family.encode().hex().encode(),
        b"eA" + base64.b64encode(b"ab" + name.encode()),
    ):
        assert found_in(content)
    assert not found_in(b"aurelia, a name that is not unique, and federation, privacy, refusal")


@pytest.mark.parametrize("name", ERRORS)
def test_only_the_name_of_an_error_class_leaves(left: Left, name: str) -> None:
    assert left.errors[name].raised > 0, "the error must have been raised"
    reply = left.transport.replies[name]
    assert found_in(reply) == []
    header = read_envelope(reply).header
    assert isinstance(header, Refusal)
    assert header.reason in CLASSES
    assert read_envelope(reply).arrays == {}


def test_nothing_at_the_centre_names_a_patient(left: Left) -> None:
    content = left.at_the_centre()
    assert any(name.startswith("coordinator/") for name in content)
    assert any(name.startswith("tracking/") for name in content)
    assert {name: found for name, data in content.items() if (found := found_in(data))} == {}
    reasons = {reasons[FAILING] for reasons in left.dropouts().values() if FAILING in reasons}
    assert len(reasons) > 10
    assert reasons <= CLASSES


def test_nothing_a_site_keeps_for_a_study_names_a_patient(left: Left) -> None:
    content = left.at_the_site()
    assert "ledger.sqlite" in content
    assert {name: found for name, data in content.items() if (found := found_in(data))} == {}


def test_whatever_failed_the_ledger_holds_and_every_round_is_charged_once(left: Left) -> None:
    with Ledger.open(left.folder / "sites" / FAILING / "ledger.sqlite", clock=now) as ledger:
        assert ledger.verify().intact
        releases = [release for (_, release) in ledger._journal.state.by_release]
    assert len(set(releases)) == len(releases) > 40


def test_the_sites_own_log_does_say_what_happened(left: Left) -> None:
    # Otherwise the names would be nowhere, and the tests above would hold for want of a secret.
    told = "\n".join(LOG.lines).encode()
    assert len(set(found_in(told))) > 40
