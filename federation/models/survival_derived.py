"""From summed tables of a survival model to its figures.

Axis names: K edges, T time bins (bin T: follow-up to the last edge or beyond), B bins of risk.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]


def derive_from_tables(
    censored: FloatArray,
    events: FloatArray,
    *,
    edges: FloatArray,
    ends: IndexArray,
    kept: FloatArray | None,
    lost: FloatArray | None,
    log_loss: float | None,
) -> dict[str, float]:
    """Figures of a model from additive tables.

    Args:
        censored: ``[T + 1, B]`` records whose follow-up ended without an event, by time and risk.
        events: ``[T + 1, B]`` records with an event.
        edges: ``[K]`` times.
        ends: ``[K]`` how many time bins end at or before each edge.
        kept: ``[K]`` sum of the squared predicted probability of an event over records event-free at the edge; ``None`` (Cox): no
            Brier.
        lost: ``[K, T]`` sum of the squared probability to be event-free at the edge, over events in each bin before it.
        log_loss: Sum of the records' losses.

    Returns:
        Always ``count``. ``events``, ``concordance``, ``mean_auroc`` and ``auroc_at_<time>``, ``integrated_brier`` and
        ``brier_at_<time>``, ``log_loss``, as far as the records define them.
    """
    count = float(censored.sum() + events.sum())
    found = {"count": count}
    if not count:
        return found
    found["events"] = float(events.sum())
    concordant = concordance(censored, events)
    if concordant is not None:
        found["concordance"] = concordant
    weights = censoring_survival(censored.sum(axis=1), events.sum(axis=1))
    aurocs = {
        f"auroc_at_{edge:g}": auroc_at(censored, events, weights, int(end))
        for edge, end in zip(edges, ends, strict=True)
    }
    defined = {name: value for name, value in aurocs.items() if value is not None}
    if defined:
        found |= defined | {"mean_auroc": float(np.mean(list(defined.values())))}
    if kept is not None and lost is not None:
        scores = brier_scores(kept, lost, weights, ends) / count
        found |= {f"brier_at_{edge:g}": float(score) for edge, score in zip(edges, scores, strict=True)}
        found["integrated_brier"] = integrated(scores, edges)
    if log_loss is not None:
        found["log_loss"] = log_loss / count
    return found


def concordance(censored: FloatArray, events: FloatArray) -> float | None:
    """Harrell's C (Harrell et al. 1982, JAMA 247): of comparable pairs, the share whose earlier event has the higher risk.

    Comparable is an event with everyone who was followed up longer, or ended without an event in the same time bin. Equal bins of
    risk count one half. ``None`` without a comparable pair.
    """
    everyone = censored + events
    later = np.cumsum(everyone[::-1], axis=0)[::-1] - everyone + censored
    below = np.cumsum(later, axis=1) - later
    pairs = float((events.sum(axis=1) * later.sum(axis=1)).sum())
    return float((events * (below + later / 2)).sum()) / pairs if pairs else None


def censoring_survival(censored: FloatArray, events: FloatArray) -> FloatArray:
    """``[T + 1]`` Kaplan-Meier's probability not to be censored before each time bin begins; events leave first.

    Args:
        censored: ``[T + 1]`` ends of follow-up by time bin.
        events: ``[T + 1]`` events.
    """
    everyone = censored + events
    at_risk = np.cumsum(everyone[::-1])[::-1] - events
    hazard = np.divide(censored, at_risk, out=np.zeros_like(at_risk), where=at_risk > 0)
    return np.concatenate([[1.0], np.cumprod(1 - hazard)[:-1]])


def auroc_at(censored: FloatArray, events: FloatArray, weights: FloatArray, end: int) -> float | None:
    """Cumulative/dynamic AUROC (Uno et al. 2007, JASA 102): events before an edge against those event-free there.

    Events count as many times as weighting for censoring says.

    Args:
        censored: ``[T + 1, B]``.
        events: ``[T + 1, B]``.
        weights: From :func:`censoring_survival`.
        end: Time bins before the edge.

    Returns:
        ``None`` without an event before the edge, or nobody event-free there.
    """
    cases = (events[:end] / weights[:end, None].clip(min=1e-300)).sum(axis=0)
    controls = (censored + events)[end:].sum(axis=0)
    pairs = float(cases.sum() * controls.sum())
    below = np.cumsum(controls) - controls
    return float(cases @ (below + controls / 2)) / pairs if pairs else None


def brier_scores(kept: FloatArray, lost: FloatArray, weights: FloatArray, ends: IndexArray) -> FloatArray:
    """``[K]`` sums of the Brier score at each edge, weighted for censoring (Graf et al. 1999, Statistics in Medicine 18)."""
    by_event = np.divide(lost, weights[:-1], out=np.zeros_like(lost), where=weights[:-1] > 0).sum(axis=1)
    at_edge = weights[ends]
    return by_event + np.divide(kept, at_edge, out=np.zeros_like(kept), where=at_edge > 0)


def integrated(scores: FloatArray, edges: FloatArray) -> float:
    """Mean over the time from 0 to the last edge, straight between the edges; at time 0 every score is 0."""
    times, values = np.concatenate([[0.0], edges]), np.concatenate([[0.0], scores])
    return float(((values[1:] + values[:-1]) / 2 * np.diff(times)).sum() / edges[-1])
