"""What FedProx and SCAFFOLD do at a site, against the papers' formulas on a quadratic."""

import numpy as np
import torch

from federation.algorithms.fedavg import FederatedAveraging, LocalRound
from federation.algorithms.fedprox import FedProx
from federation.algorithms.scaffold import CONTROL, CONTROL_CHANGE, Scaffold


def test_fedavg_corrects_nothing_and_sends_nothing():
    algorithm = FederatedAveraging()
    assert algorithm.correction(start=torch.zeros(2), received={}, site={}) is None
    local = LocalRound(update=np.ones(2), num_steps=1, learning_rate=1.0)
    assert algorithm.finish_site(local, received={}, site={}) == ({}, {})


def test_fedprox_pulls_towards_the_global_parameters():
    start = torch.tensor([1.0, -1.0])
    correction = FedProx(mu=0.5).correction(start=start, received={}, site={})
    gradient = correction(torch.tensor([0.2, 0.2]), torch.tensor([3.0, -1.0]))
    torch.testing.assert_close(gradient, torch.tensor([1.2, 0.2]))


def test_fedprox_minimises_the_proximal_objective():
    # min (w - 3)^2 / 2 + mu (w - 0)^2 / 2 has its minimum at 3 / (1 + mu)
    correction = FedProx(mu=2.0).correction(start=torch.zeros(1), received={}, site={})
    parameter = torch.zeros(1)
    for _ in range(300):
        parameter = parameter - 0.1 * correction(parameter - 3.0, parameter)
    torch.testing.assert_close(parameter, torch.tensor([1.0]), rtol=1e-5, atol=1e-5)


def scaffold_on_quadratics(rounds, *, with_control):
    """Two sites with losses (w - 4)^2 / 2 * 3 and (w + 2)^2 / 2; the minimum of the mean is 10 / 4 = 2.5."""
    algorithm = Scaffold() if with_control else FederatedAveraging()
    curvature, centre = [3.0, 1.0], [4.0, -2.0]
    parameters, server = np.zeros(1), algorithm.start_server(1)
    sites = [algorithm.start_site(1), algorithm.start_site(1)]
    for number in range(1, rounds + 1):
        received = algorithm.broadcast(server)
        updates, sent = [], []
        for site in range(2):
            start = torch.from_numpy(parameters.copy())
            correct = algorithm.correction(start=start, received=received, site=sites[site])
            local = start.clone()
            for _ in range(20):
                gradient = curvature[site] * (local - centre[site])
                local = local - 0.05 * (correct(gradient, local) if correct else gradient)
            update = (local - start).numpy()
            message, sites[site] = algorithm.finish_site(
                LocalRound(update=update, num_steps=20, learning_rate=0.05), received=received, site=sites[site]
            )
            updates.append(update)
            sent.append(message)
        means = {name: np.mean([message[name] for message in sent], axis=0) for name in sent[0]}
        parameters, server = algorithm.server_step(
            parameters, mean_update=np.mean(updates, axis=0), means=means, server=server, round_number=number
        )
    return float(parameters[0]), server, sites


def test_scaffold_reaches_the_minimum_where_fedavg_drifts():
    reached, server, sites = scaffold_on_quadratics(150, with_control=True)
    drifted, _, _ = scaffold_on_quadratics(150, with_control=False)
    assert abs(reached - 2.5) < 1e-3
    assert abs(drifted - 2.5) > 0.3
    # c stays the mean of the c_i, and each c_i is the site's gradient at the minimum
    np.testing.assert_allclose(server[CONTROL], np.mean([site[CONTROL] for site in sites], axis=0), atol=1e-9)
    np.testing.assert_allclose(sites[0][CONTROL], 3 * (2.5 - 4), atol=1e-2)


def test_scaffold_option_two_by_hand():
    algorithm = Scaffold()
    received, site = {CONTROL: np.array([0.5])}, {CONTROL: np.array([0.2])}
    local = LocalRound(update=np.array([-1.2]), num_steps=4, learning_rate=0.1)
    sent, state = algorithm.finish_site(local, received=received, site=site)
    np.testing.assert_allclose(state[CONTROL], 0.2 - 0.5 + 1.2 / 0.4)
    np.testing.assert_allclose(sent[CONTROL_CHANGE], state[CONTROL] - 0.2)
