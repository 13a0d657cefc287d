"""Losses of counts, quantiles and survival against SciPy, scikit-learn, statsmodels and plain loops; gradients against autograd."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import poisson
from sklearn.metrics import mean_pinball_loss

from federation.errors import InternalError
from federation.models.build import build_model
from federation.models.losses import batch_loss, record_loss_gradients, record_losses, scores
from federation.models.parameters import initial_parameters, load
from federation.models.spec import LinearSpec, MlpSpec
from federation.models.survival_loss import cox_loss
from federation.models.task_terms import CoxTerms, DiscreteTimeTerms, Objective
from tests.objectives import COX, EDGES, HAZARDS, QUANTILES

TIMES = torch.tensor([0.0, 0.4, 1.0, 1.7, 2.0, 3.4, 3.5, 8.0])
"""Before, at, between and beyond the edges."""
ENCODED = torch.cat([1 + TIMES, -(1 + TIMES)])
CASES: dict[str, tuple[Objective, int]] = {
    "count": ("count", 1),
    "quantile": (QUANTILES, 3),
    **{name: (terms, 3) for name, terms in HAZARDS.items()},
}


def _numbers(rows: int, columns: int, spread: float = 2.0) -> torch.Tensor:
    return spread * torch.from_numpy(np.random.default_rng(3).normal(size=(rows, columns)))


def test_counts_are_scored_by_their_log_likelihood() -> None:
    outputs, outcomes = _numbers(6, 1), torch.tensor([0.0, 1, 2, 0, 7, 60], dtype=torch.float64)
    expected = -poisson.logpmf(outcomes.numpy(), np.exp(outputs[:, 0].numpy()))
    np.testing.assert_allclose(record_losses("count", outputs, outcomes), expected, rtol=1e-12)
    np.testing.assert_allclose(scores("count", outputs), outputs[:, 0].exp(), rtol=1e-12)


def test_quantiles_are_scored_as_scikit_learn_does() -> None:
    outputs, outcomes = _numbers(50, 3), _numbers(50, 1)[:, 0]
    expected = sum(
        mean_pinball_loss(outcomes.numpy(), outputs[:, place].numpy(), alpha=level)
        for place, level in enumerate(QUANTILES.levels)
    )
    assert float(record_losses(QUANTILES, outputs, outcomes).mean()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", HAZARDS)
def test_a_survival_loss_is_minus_the_logarithm_of_what_happened(name: str) -> None:
    terms = HAZARDS[name]
    outputs = _numbers(len(ENCODED), 3, spread=1.0)
    kept = scores(terms, outputs).numpy()
    for row, code in enumerate(ENCODED.tolist()):
        curve = [1.0, *kept[row]]
        place = sum(abs(code) - 1 >= edge for edge in EDGES)  # closed on the left
        happened = curve[place] - curve[place + 1] if code > 0 and place < len(EDGES) else curve[place]
        loss = float(record_losses(terms, outputs, ENCODED.double())[row])
        assert loss == pytest.approx(-np.log(happened), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_autograd(name: str) -> None:
    task, width = CASES[name]
    outcomes = ENCODED.double() if name in HAZARDS else torch.arange(len(ENCODED), dtype=torch.float64) % 4
    outputs = _numbers(len(ENCODED), width, spread=3.0).requires_grad_()
    (expected,) = torch.autograd.grad(record_losses(task, outputs, outcomes).sum(), outputs)
    torch.testing.assert_close(record_loss_gradients(task, outputs.detach(), outcomes), expected)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_outputs_stay_finite(name: str, size: float) -> None:
    task, width = CASES[name]
    outputs = torch.full((len(ENCODED), width), size)
    outcomes = ENCODED if name in HAZARDS else torch.arange(len(ENCODED)) % 3
    assert torch.isfinite(record_losses(task, outputs, outcomes.float())).all()
    assert torch.isfinite(record_loss_gradients(task, outputs, outcomes.float())).all()


def _slow_cox(risks: list[float], codes: list[float]) -> float:
    """Each event against those of a later time, or of the same time and earlier in the batch."""
    total = 0.0
    for place, code in enumerate(codes):
        at_risk = [
            other
            for other in range(len(risks))
            if abs(codes[other]) > abs(code) or (abs(codes[other]) == abs(code) and other <= place)
        ]
        if code > 0:
            total += np.log(sum(np.exp(risks[other]) for other in at_risk)) - risks[place]
    return total / len(codes)


def test_cox_is_the_partial_likelihood_of_the_batch() -> None:
    outputs, codes = _numbers(len(ENCODED), 1), ENCODED.double()
    expected = _slow_cox(outputs[:, 0].tolist(), codes.tolist())
    assert float(batch_loss(COX, outputs, codes)) == pytest.approx(expected, rel=1e-12)
    assert float(cox_loss(outputs, -codes.abs())) == 0  # nobody had the event


def test_cox_agrees_with_lifelines_where_no_times_are_tied() -> None:
    import pandas as pd
    from lifelines import CoxPHFitter

    generator = np.random.default_rng(0)
    x = generator.normal(size=60)
    time = generator.exponential(np.exp(-x))
    event = generator.random(60) < 0.7
    fitted = CoxPHFitter().fit(pd.DataFrame({"x": x, "t": time, "e": event}), "t", "e")
    slope = float(fitted.params_["x"])
    codes = torch.from_numpy(np.where(event, 1, -1) * (1 + time))
    ours = cox_loss(torch.from_numpy(slope * x)[:, None], codes)
    assert -60 * float(ours) == pytest.approx(float(fitted.log_likelihood_), rel=1e-9)


def test_the_minimum_of_grouped_proportional_hazards_is_that_of_statsmodels() -> None:
    """Prentice & Gloeckler's model is a complementary log-log regression of the intervals that patients lived through."""
    import statsmodels.api as sm

    terms = HAZARDS["proportional cloglog"]
    generator = np.random.default_rng(1)
    x = generator.normal(size=(300, 2))
    time = generator.exponential(2 * np.exp(-0.7 * x[:, 0] + 0.3 * x[:, 1]))
    event = generator.random(300) < 0.8
    rows, outcomes = [], []
    for person, (at, died) in enumerate(zip(time, event, strict=True)):
        place = int(np.searchsorted(EDGES, at, side="right"))
        for interval in range(min(place, len(EDGES))):
            rows.append([*x[person], *np.eye(3)[interval]])
            outcomes.append(0)
        if died and place < len(EDGES):
            rows.append([*x[person], *np.eye(3)[place]])
            outcomes.append(1)
    family = sm.families.Binomial(link=sm.families.links.CLogLog())
    expected = sm.GLM(np.array(outcomes), np.array(rows), family=family).fit(tol=1e-12)
    model = build_model(LinearSpec(kind="linear"), task=terms, num_features=2, num_outputs=3, private=True).double()
    codes = torch.from_numpy(np.where(event, 1, -1) * (1 + time))
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        found = batch_loss(terms, model(torch.from_numpy(x)), codes)
        found.backward()
        return found

    optimiser.step(loss)
    fitted = np.concatenate([parameter.detach().numpy().reshape(-1) for parameter in model.parameters()])
    np.testing.assert_allclose(fitted, expected.params, rtol=1e-5, atol=1e-6)


def test_a_loss_of_single_records_is_not_to_be_had_from_cox() -> None:
    with pytest.raises(InternalError, match="batch"):
        record_losses(COX, torch.zeros((2, 1)), torch.ones(2))
    with pytest.raises(InternalError, match="batch"):
        record_loss_gradients(COX, torch.zeros((2, 1)), torch.ones(2))


@pytest.mark.parametrize("name", HAZARDS)
def test_a_patients_loss_does_not_depend_on_others(name: str) -> None:
    outputs = _numbers(len(ENCODED), 3)
    whole = record_losses(HAZARDS[name], outputs, ENCODED.double())
    alone = [record_losses(HAZARDS[name], outputs[[n]], ENCODED.double()[[n]]) for n in range(len(ENCODED))]
    assert torch.equal(whole, torch.cat(alone))


def test_a_time_at_an_edge_is_in_the_next_interval_however_float32_rounds() -> None:
    edges = tuple(365.25 * year / 7 for year in range(1, 40))
    terms = DiscreteTimeTerms(edges=edges, hazard="logistic", effects="by_interval")
    codes = torch.tensor(np.array([1 + edge for edge in edges], dtype=np.float32))
    gradients = record_loss_gradients(terms, torch.zeros((39, 39)), codes)
    survived = (gradients > 0).sum(dim=1)
    assert survived.tolist() == list(range(1, 40))


@pytest.mark.parametrize("spec", [LinearSpec(kind="linear"), MlpSpec(kind="mlp", hidden=(4,))], ids=["linear", "mlp"])
@pytest.mark.parametrize("name", [*HAZARDS, "cox"])
def test_networks_of_survival(name: str, spec: LinearSpec | MlpSpec) -> None:
    terms: DiscreteTimeTerms | CoxTerms = COX if name == "cox" else HAZARDS[name]
    outputs = 1 if name == "cox" else 3
    model = build_model(spec, task=terms, num_features=5, num_outputs=outputs, private=False)
    load(model, initial_parameters(model, seed=4))
    said = model(torch.from_numpy(np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)))
    assert said.shape == (20, outputs)
    if name == "cox" or name.startswith("proportional"):
        assert torch.equal(said, said[:1].expand(20, -1)), "at the start, nobody's hazard differs"
        moved = initial_parameters(model, seed=4) + np.random.default_rng(1).normal(
            size=len(initial_parameters(model, seed=4))
        )
        load(model, moved.astype(np.float32))
        said = model(torch.from_numpy(np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)))
        for first, second in itertools.pairwise(said.T):
            assert float((first - second).detach().std()) < 1e-5, "effects are the same in every interval"
