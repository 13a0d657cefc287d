"""What the aggregator keeps of the sites' ledgers."""

import pytest

from aggregator.witnessing import HeadKeeper
from federation.errors import TransportError
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.signatures import SigningKey

KEY = SigningKey.generate()


def head(sequence, *, key=KEY, population="cardiology"):
    return LedgerHead.signed(key, population=population, sequence=sequence, entry_hash="0a" * 32)


def test_the_latest_head_is_shown_again():
    keeper = HeadKeeper({})
    assert keeper.witnessed("north") is None
    keeper.accept("north", head(3))
    keeper.accept("north", head(7))
    keeper.accept("south", head(1, key=SigningKey.generate()))
    assert keeper.witnessed("north") == head(7)
    assert HeadKeeper(keeper.heads).witnessed("north") == head(7)


def test_an_older_head_does_not_replace_a_newer_one():
    keeper = HeadKeeper({"north": head(7)})
    keeper.accept("north", head(3))
    assert keeper.witnessed("north") == head(7)


@pytest.mark.parametrize(
    "bad",
    [None, head(8).model_copy(update={"sequence": 9}), head(8, key=SigningKey.generate()), head(8, population="other")],
    ids=["none", "not genuine", "another key", "another population"],
)
def test_what_is_not_the_sites_head_is_refused(bad):
    keeper = HeadKeeper({"north": head(7)})
    with pytest.raises(TransportError, match="north"):
        keeper.accept("north", bad)
    assert keeper.witnessed("north") == head(7)
