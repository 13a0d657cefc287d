"""A site whose shares are of no secret cannot stop a study with secure aggregation."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import QuorumError
from federation.protocol.messages import TrainRequest
from federation.protocol.secure_sum import agreeing
from federation.protocol.secure_sum.agreeing import Advertised
from tests.masked_study import SITES, Lossy, agents, masked_manifest, run


@pytest.fixture
def bad_dealer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever site south deals from the second batch of keys on is no share of what it advertised."""
    original, of = agreeing.split, Advertised.agree

    def agree(self: Advertised, key_list: bytes, **others: object) -> object:
        is_bad = self.index == SITES.index("south") and self.batch.first_round > 1

        def split(secret: bytes, **places: object) -> dict[int, bytes]:
            shares = original(secret, **places)
            return dict.fromkeys(shares, bytes(32)) if is_bad else shares

        monkeypatch.setattr(agreeing, "split", split)
        return of(self, key_list, **others)

    monkeypatch.setattr(Advertised, "agree", agree)


@pytest.mark.usefixtures("bad_dealer")
def test_a_site_that_deals_wrong_shares_stops_the_round_at_once_and_is_named(tmp_path: Path) -> None:
    """Its own mask cannot be taken away, and survivors answer once for a round: another attempt would be refused by all."""
    study = masked_manifest(tmp_path / "masked")
    transport = Lossy(agents(tmp_path / "masked", study))
    with pytest.raises(QuorumError, match=r"round 3, got none in 1 attempts .*south: dealt_wrongly"):
        run(study, tmp_path / "masked", transport)
    asked = [request.header for _, request, _ in transport.seen if isinstance(request.header, TrainRequest)]
    assert {(header.round_number, header.batch.attempt) for header in asked} == {(1, 0), (2, 0), (3, 0)}
