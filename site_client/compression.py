"""The site's side of compressed updates: what leaves, and what is held back for the next round.

What is held back is kept with the algorithm's state, in the same durable file and before the reply leaves. A repeated request gets
the kept reply; a round that was interrupted before its reply was kept starts again from the state before it. So nothing is held
back twice and nothing is lost, but for an update that the aggregator did not use: it counts as sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from federation.algorithms.fedavg import State
from federation.errors import InternalError
from federation.protocol.messages import PAYLOAD, Arrays
from federation.study.compression import CompressionSpec, compress

_UPDATE: Final = "update"
RESIDUAL: Final = "compression/residual"
"""Name of what is held back, in the site's state."""


def compressed_arrays(
    spec: CompressionSpec | None, arrays: Arrays, *, earlier: State, state: State
) -> tuple[Arrays, State]:
    """The arrays of a reply to training as they leave, and the state to keep.

    Args:
        spec: Of the manifest; ``None``: nothing changes.
        arrays: Of the reply: an ``update`` of float32 and nothing else, where there is a specification.
        earlier: The site's state before the round.
        state: The algorithm's state after it.

    Raises:
        InternalError: If the reply holds something else, which the manifest's check should have refused.
        InvalidInputError: If a number is not finite.
    """
    if spec is None:
        return arrays, state
    if set(arrays) != {_UPDATE}:
        raise InternalError(f"expected an update and nothing else to compress, got {sorted(arrays)}")
    residual = earlier.get(RESIDUAL)
    found = compress(
        np.asarray(arrays[_UPDATE], dtype=np.float32),
        spec,
        residual=None if residual is None else residual.astype(np.float32),
    )
    kept = {**state, RESIDUAL: found.residual.astype(np.float64)} if spec.has_feedback else state
    return {PAYLOAD: found.content}, kept


def compressed_lengths(spec: CompressionSpec | None, lengths: Mapping[str, int]) -> Mapping[str, int]:
    """Name to length of every array that leaves, from those of the reply before compression.

    Args:
        spec: Of the manifest; ``None``: nothing changes.
        lengths: Of the reply's arrays.
    """
    return lengths if spec is None else {PAYLOAD: spec.num_bytes(lengths[_UPDATE])}
