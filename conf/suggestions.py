"""The nearest right word for a wrong one.

>>> did_you_mean("fedpro", ("fedavg", "fedprox", "scaffold"))
": did you mean 'fedprox'? (one of: fedavg, fedprox, scaffold)"
>>> did_you_mean("privacy.epsilom", ("privacy.epsilon", "privacy.delta"), listed=0)
": did you mean 'privacy.epsilon'?"
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, options: Iterable[str]) -> str | None:
    """The option most like ``word``, or ``None`` if none is.

    A dotted option is also found by its last parts alone: ``epsilon`` finds ``privacy.epsilon``.

    Args:
        word: What was written.
        options: What could have been written.
    """
    candidates = sorted({option for option in options if not word.startswith(f"{option}.")})
    parent, _, last = word.rpartition(".")
    # Beside the same parent only the last part can be wrong; the shared beginning must not count as likeness.
    siblings = {option.rpartition(".")[2]: option for option in candidates if option.rpartition(".")[0] == parent}
    beside = difflib.get_close_matches(last, sorted(siblings), n=1, cutoff=0.6)
    if beside:
        return siblings[beside[0]]
    elsewhere = [option for option in candidates if option.rpartition(".")[0] != parent]
    whole = difflib.get_close_matches(word, elsewhere, n=1, cutoff=0.75)
    if whole:
        return whole[0]
    return _by_ending(word, candidates) or _by_ending(last, candidates)


def _by_ending(word: str, candidates: list[str]) -> str | None:
    parts = word.count(".") + 1
    by_ending = {".".join(option.split(".")[-parts:]): option for option in reversed(candidates)}
    ending = difflib.get_close_matches(word, sorted(by_ending), n=1, cutoff=0.8)
    return by_ending[ending[0]] if ending else None


def did_you_mean(word: str, options: Iterable[str], *, listed: int = 12) -> str:
    """The end of a one-line error: the nearest option, and all of them if there are at most ``listed``."""
    candidates = sorted(set(options))
    best = nearest(word, candidates)
    parts = [f"did you mean {best!r}?"] if best else []
    if 0 < len(candidates) <= listed:
        choices = f"one of: {', '.join(candidates)}"
        parts.append(f"({choices})" if best else choices)
    return f": {' '.join(parts)}" if parts else ""
