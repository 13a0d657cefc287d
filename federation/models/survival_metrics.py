"""Performance of survival models from tables that add up over sites: concordance, AUROC by time, Brier score.

Every record falls into one cell of a table of event or not, time bin and bin of its risk, so that concordance and AUROC follow from
counts. Two records in the same bin of risk count as tied; two events in the same time bin are not compared. Both lose a little, and
less with finer bins; where all times and risks are in bins of their own nothing is lost. Brier scores need no bins of risk: the
sums that they add up are exact, but for the weights of censoring, which are constant within a time bin.

The risk of a discrete-time model is the mean probability of the event up to the times of follow-up's grid (one minus the
restricted mean survival over the last edge); of a Cox model the sigmoid of its log relative hazard. Both are in [0, 1] and in
bins of equal width.

Axis names: R records, K edges, T time bins (the last edge is the end of the last), B bins of risk.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from federation.models.survival_derived import derive_from_tables
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
Terms = DiscreteTimeTerms | CoxTerms

_CLIP = 1e-7


def survival_lengths(terms: Terms, *, risk_bins: int) -> dict[str, int]:
    """Name to length of the sums."""
    bins, edges = len(terms.bin_edges), len(terms.edges)
    lengths = {"risk_table": 2 * (bins + 1) * risk_bins}
    if isinstance(terms, DiscreteTimeTerms):
        lengths |= {"log_loss": 1, "squared_kept": edges, "squared_lost": edges * bins}
    return lengths


def risks(terms: Terms, said: FloatArray) -> FloatArray:
    """``[R]`` in [0, 1]: one figure of risk for each record.

    Args:
        terms: Of the study.
        said: ``[R, K]`` probabilities to be event-free (discrete time), or ``[R]`` log relative hazards (Cox).
    """
    if isinstance(terms, CoxTerms):
        return expit(said)
    widths = np.diff(np.asarray(terms.edges), prepend=0.0)
    started = np.concatenate([np.ones((len(said), 1)), said[:, :-1]], axis=1)
    # The area under the survival curve, straight between the edges.
    return np.clip(1 - ((started + said) / 2 @ widths) / terms.edges[-1], 0.0, 1.0)


def survival_sums(terms: Terms, said: FloatArray, encoded: FloatArray, *, risk_bins: int) -> dict[str, FloatArray]:
    """The sums over some records.

    Args:
        terms: Of the study.
        said: See :func:`risks`.
        encoded: ``[R]`` encoded outcomes.
        risk_bins: B.
    """
    is_event, place = places_of(terms, encoded)
    bins = len(terms.bin_edges)
    risk = np.clip((risks(terms, said) * risk_bins).astype(np.int64), 0, risk_bins - 1)
    cells = (is_event * (bins + 1) + place) * risk_bins + risk
    table = np.bincount(cells, minlength=2 * (bins + 1) * risk_bins).astype(np.float64)
    if isinstance(terms, CoxTerms):
        return {"risk_table": table}
    ends = ends_of(terms)
    kept = place[:, None] >= ends  # event-free and seen at the edge
    lost = np.zeros((len(terms.edges), bins))
    for number, end in enumerate(ends):
        chosen = is_event & (place < end)
        lost[number] = np.bincount(place[chosen], weights=np.square(said[chosen, number]), minlength=bins)
    return {
        "risk_table": table,
        "log_loss": np.array([log_losses(terms, said, encoded).sum()]),
        "squared_kept": (np.square(1 - said) * kept).sum(axis=0),
        "squared_lost": lost.reshape(-1),
    }


def derive_survival(terms: Terms, arrays: Mapping[str, FloatArray]) -> dict[str, float]:
    """Always ``count``; as far as defined ``concordance mean_auroc integrated_brier log_loss``, and figures at each edge.

    See :func:`federation.models.survival_derived.derive_from_tables`.
    """
    bins = len(terms.bin_edges)
    table = arrays["risk_table"].reshape(2, bins + 1, -1)
    return derive_from_tables(
        table[0],
        table[1],
        edges=np.asarray(terms.edges),
        ends=ends_of(terms),
        kept=arrays.get("squared_kept"),
        lost=arrays["squared_lost"].reshape(len(terms.edges), bins) if "squared_lost" in arrays else None,
        log_loss=float(arrays["log_loss"][0]) if "log_loss" in arrays else None,
    )


def ends_of(terms: Terms) -> IndexArray:
    """``[K]`` how many time bins end at or before each edge."""
    return np.searchsorted(np.asarray(terms.bin_edges), np.asarray(terms.edges), side="right").astype(np.int64)


def places_of(terms: Terms, encoded: FloatArray) -> tuple[NDArray[np.bool_], IndexArray]:
    """``[R]`` whether there was an event before the last edge, and the time bin: T at the last edge or later."""
    # As float32, as outcomes are encoded: a time equal to an edge stays equal.
    edges = (1 + np.asarray(terms.bin_edges)).astype(np.float32)
    place = np.searchsorted(edges, np.abs(encoded).astype(np.float32), side="right").astype(np.int64)
    return (encoded > 0) & (place < len(edges)), place


def log_losses(terms: DiscreteTimeTerms, said: FloatArray, encoded: FloatArray) -> FloatArray:
    """``[R]`` the training's loss, from probabilities; none is infinitely wrong."""
    edges = (1 + np.asarray(terms.edges)).astype(np.float32)
    place = np.searchsorted(edges, np.abs(encoded).astype(np.float32), side="right")
    rows = np.arange(len(said))
    with_start = np.concatenate([np.ones((len(said), 1)), said], axis=1)
    begun = with_start[rows, place]
    ended = with_start[rows, np.minimum(place + 1, len(edges))]
    is_event = (encoded > 0) & (place < len(edges))
    return -np.log(np.clip(np.where(is_event, begun - ended, begun), _CLIP, 1.0))
