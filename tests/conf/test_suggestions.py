from __future__ import annotations

import pytest

from conf.suggestions import did_you_mean, nearest

SETTINGS = ("privacy", "privacy.epsilon", "privacy.delta", "schedule.rounds", "schedule.optimiser.kind", "model.kind")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("privacy.epsilom", "privacy.epsilon"),
        ("epsilon", "privacy.epsilon"),
        ("shedule.rounds", "schedule.rounds"),
        ("schedule.optimizer.kind", "schedule.optimiser.kind"),
        ("optimiser.knd", "schedule.optimiser.kind"),
        ("model.bias", None),  # shares the beginning with model.kind, and nothing else
        ("privacy.zzz", None),  # its own parent is no suggestion
        ("zzz", None),
    ],
)
def test_nearest(word: str, expected: str | None) -> None:
    assert nearest(word, SETTINGS) == expected


def test_did_you_mean_lists_few_options_and_not_many() -> None:
    assert did_you_mean("fedpro", ("fedavg", "fedprox")) == ": did you mean 'fedprox'? (one of: fedavg, fedprox)"
    assert did_you_mean("zzz", ("fedavg", "fedprox")) == ": one of: fedavg, fedprox"
    assert did_you_mean("fedpro", ("fedavg", "fedprox"), listed=1) == ": did you mean 'fedprox'?"
    assert did_you_mean("zzz", ("fedavg", "fedprox"), listed=1) == ""
    assert did_you_mean("zzz", ()) == ""
