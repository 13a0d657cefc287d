"""Metrics of survival under patient weights; see :mod:`experiments.resampled_metrics`.

The simulator holds all test records, so concordance compares exact times and risks over the whole follow-up, as lifelines does.
Weights for censoring are constant within the time bins of the study's terms, as in the sums that sites send.

Axis names: B weightings, P patients, R records, K edges, T time bins.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from experiments.patient_sums import Weights, blocks, patient_sums, ratio
from experiments.predictions import FloatArray, Scored
from federation.models.survival_derived import integrated
from federation.models.survival_metrics import Terms, ends_of, log_losses, places_of, risks
from federation.models.task_terms import DiscreteTimeTerms

_PAIRS_AT_ONCE: Final = 2_000_000


def survival_metrics(records: Scored, weights: Weights, terms: Terms) -> dict[str, FloatArray]:
    """Harrell's C, mean cumulative/dynamic AUROC over the edges, integrated Brier score and log loss: ``[B]`` each."""
    risk = risks(terms, records.scores)
    if terms.kind == "cox":
        risk = records.scores  # unlike its sigmoid, without ties of rounding
    found = {
        "concordance": _concordance(records, weights, risk),
        "mean_auroc": _mean_auroc(records, weights, terms, risk),
    }
    if isinstance(terms, DiscreteTimeTerms):
        count = patient_sums(records, weights, {"n": np.ones_like(risk)})["n"]
        losses = log_losses(terms, records.scores, records.outcomes)
        found["integrated_brier"] = _integrated_brier(records, weights, terms, count)
        found["log_loss"] = ratio(patient_sums(records, weights, {"loss": losses})["loss"], count)
    return found


def _concordance(records: Scored, weights: Weights, risk: FloatArray) -> FloatArray:
    time, is_event = np.abs(records.outcomes), records.outcomes > 0
    cases = np.flatnonzero(is_event)
    found: list[FloatArray] = []
    for block in blocks(weights, len(risk)):
        by_record = block.astype(np.float64)[:, records.patient_of_record]
        right, pairs = np.zeros(len(block)), np.zeros(len(block))
        size = max(1, _PAIRS_AT_ONCE // max(1, len(risk)))
        for start in range(0, len(cases), size):
            some = cases[start : start + size]
            comparable = (time[some, None] < time) | ((time[some, None] == time) & ~is_event)
            better = (risk[some, None] > risk) + 0.5 * (risk[some, None] == risk)
            own = by_record[:, some]
            pairs += np.einsum("br,br->b", own @ comparable.astype(np.float64), by_record)
            right += np.einsum("br,br->b", own @ (comparable * better), by_record)
        found.append(ratio(right, pairs))
    return np.concatenate(found)


def _kept(records: Scored, weights: Weights, terms: Terms) -> FloatArray:
    """``[B, T + 1]`` probability not to be censored before each time bin begins, see :mod:`federation.models.survival_derived`."""
    is_event, place = places_of(terms, records.outcomes)
    bins = range(len(terms.bin_edges) + 1)
    sums = patient_sums(
        records,
        weights,
        {f"events_{bin_}": (is_event & (place == bin_)).astype(np.float64) for bin_ in bins}
        | {f"censored_{bin_}": (~is_event & (place == bin_)).astype(np.float64) for bin_ in bins},
    )
    events = np.stack([sums[f"events_{bin_}"] for bin_ in bins], axis=1)
    censored = np.stack([sums[f"censored_{bin_}"] for bin_ in bins], axis=1)
    at_risk = np.cumsum((events + censored)[:, ::-1], axis=1)[:, ::-1] - events
    hazard = np.divide(censored, at_risk, out=np.zeros_like(at_risk), where=at_risk > 0)
    before = np.ones_like(hazard)
    before[:, 1:] = np.cumprod(1 - hazard, axis=1)[:, :-1]
    return before


def _mean_auroc(records: Scored, weights: Weights, terms: Terms, risk: FloatArray) -> FloatArray:
    is_event, place = places_of(terms, records.outcomes)
    kept = _kept(records, weights, terms)
    order = np.argsort(risk, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(risk[order]) > 0]))[: len(order)]
    columns: list[FloatArray] = []
    for end in ends_of(terms):
        is_case, is_control = (is_event & (place < end))[order], (place >= end)[order]
        parts: list[FloatArray] = []
        first = 0
        for block in blocks(weights, len(risk)):
            by_record = block.astype(np.float64)[:, records.patient_of_record[order]]
            weighted = by_record * is_case / np.maximum(kept[first : first + len(block)][:, place[order]], 1e-300)
            first += len(block)
            parts.append(_area(weighted, by_record * is_control, starts))
        columns.append(np.concatenate(parts))
    stacked = np.stack(columns)
    defined = np.isfinite(stacked)
    return ratio(np.where(defined, stacked, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64))


def _area(cases: FloatArray, controls: FloatArray, starts: NDArray[np.int64]) -> FloatArray:
    """``[B]`` AUROC of weighted cases and controls ``[B, R]`` by increasing risk; ties count one half."""
    if not cases.shape[1]:
        return np.full(len(cases), np.nan)
    cases, controls = np.add.reduceat(cases, starts, axis=1), np.add.reduceat(controls, starts, axis=1)
    below = np.cumsum(controls, axis=1) - controls
    return ratio(np.einsum("br,br->b", cases, below + controls / 2), cases.sum(axis=1) * controls.sum(axis=1))


def _integrated_brier(records: Scored, weights: Weights, terms: DiscreteTimeTerms, count: FloatArray) -> FloatArray:
    is_event, place = places_of(terms, records.outcomes)
    kept, said = _kept(records, weights, terms), records.scores
    scores: list[FloatArray] = []
    for number, end in enumerate(ends_of(terms)):
        squared = np.square(said[:, number])
        lost = patient_sums(
            records, weights, {f"{bin_}": squared * (is_event & (place == bin_)) for bin_ in range(int(end))}
        )
        by_event = sum(
            (ratio(lost[f"{bin_}"], kept[:, bin_]) for bin_ in range(int(end))), start=np.zeros(len(weights))
        )
        alive = patient_sums(records, weights, {"alive": np.square(1 - said[:, number]) * (place >= end)})["alive"]
        at_edge = np.divide(alive, kept[:, end], out=np.zeros_like(alive), where=kept[:, end] > 0)
        scores.append(ratio(np.nan_to_num(by_event) + at_edge, count))
    edges = np.asarray(terms.edges)
    return np.array([integrated(column, edges) for column in np.stack(scores, axis=1)])
