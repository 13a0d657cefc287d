"""A site's part of one DP-SGD step over all patients of the federation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from federation.models.task_terms import Objective
from federation.privacy.distributed import NoiseShare, noisy_share
from federation.privacy.independence import check_independence, check_memory, memory_of
from federation.privacy.promise import MechanismSpec
from federation.privacy.randomness import RandomStreams
from federation.privacy.sampling import poisson_sample
from site_client.patient_gradients import patient_gradients
from site_client.patients import PatientDataset


def noisy_gradient_sum(
    model: nn.Module,
    dataset: PatientDataset,
    *,
    task: Objective,
    mechanism: MechanismSpec,
    share: NoiseShare,
    streams: RandomStreams,
) -> NDArray[np.int64]:
    """Clipped gradients of the patients drawn, with this site's share of the noise.

    The share alone is less noise than is promised: the result must not leave the site but inside a secure sum.

    Args:
        model: At the round's parameters; they are not changed.
        dataset: The site's training patients; none gives pure noise.
        task: Sets the loss.
        mechanism: Clipping norm and sampling probability.
        share: Grid and noise.
        streams: Secret, of this round alone.

    Returns:
        ``[D]`` whole grid steps.

    Raises:
        ModelRefusedError: If the model mixes patients, or remembers something of them.
    """
    check_independence(model, (dataset.features.shape[1],))
    memory = memory_of(model)
    drawn = poisson_sample(
        dataset.num_patients, numerator=mechanism.sampling_numerator, generator=streams.stream("sampling")
    )
    with patient_gradients(model, dataset, task=task, mechanism=mechanism, grid_bits=share.grid_bits) as patients:
        total = patients.clipped_sum(drawn, clipping_norm=mechanism.clipping_norm)
    check_memory(model, memory)
    return noisy_share(total, mechanism=share, generator=streams.stream("noise"))
