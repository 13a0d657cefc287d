"""Officers read in words what a network over time is."""

from __future__ import annotations

from federation.models.spec import Cnn1dSpec, GruSpec
from site_client.plain_words import model_in_words
from site_client.policy import SitePolicy


def test_networks_over_time_are_described() -> None:
    gru = model_in_words(GruSpec(kind="gru", signal_shape=(6, 72), hidden=12))
    assert gru == "a recurrent neural network of 12 units for signals of 6 x 72 values"
    cnn = model_in_words(Cnn1dSpec(kind="cnn1d", signal_shape=(2, 192)))
    assert cnn == "a neural network for signals of 2 x 192 values"


def test_a_policy_can_name_them() -> None:
    field = SitePolicy.model_fields["allowed_models"]
    assert {"cnn1d", "gru"} <= set(str(field.annotation).replace("'", " ").split())
