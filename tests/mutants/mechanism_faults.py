"""Faults in noise, clipping, sampling, random streams and the exact noise of counts."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_NOISE: Final = "federation/privacy/noise.py"
_CLIPPING: Final = "federation/privacy/clipping.py"
_RANDOMNESS: Final = "federation/privacy/randomness.py"
_SAMPLING: Final = "federation/privacy/sampling.py"
_DISCRETE: Final = "federation/privacy/discrete.py"
_OF_NOISE: Final = "tests/federation/privacy/test_noise.py"
_OF_CLIPPING: Final = "tests/federation/privacy/test_clipping.py"
_OF_STREAMS: Final = "tests/federation/privacy/test_randomness.py"
_OF_SAMPLING: Final = "tests/federation/privacy/test_sampling.py"
_OF_COUNTS: Final = "tests/federation/privacy/test_discrete.py"
_STATISTICS: Final = "tests/statistical/test_mechanism.py"
_REPLAY: Final = "tests/replay/test_training.py"

MUTANTS: Final = (
    Mutant(
        "noise a third too small",
        _NOISE,
        "normals *= mechanism.noise_multiplier * 2.0**GRID_BITS",
        "normals *= mechanism.noise_multiplier * 2.0**GRID_BITS * 2 / 3",
        (_STATISTICS,),
    ),
    Mutant(
        "noise does not follow the clipping norm's grid",
        _CLIPPING,
        "return clipping_norm * 2.0**-GRID_BITS",
        "return 2.0**-GRID_BITS",
        (_STATISTICS, _OF_NOISE),
    ),
    Mutant(
        "noise off the grid",
        _NOISE,
        "return np.rint(normals, out=normals)",
        "return normals",
        (_OF_NOISE,),
    ),
    Mutant(
        "no noise when nobody is drawn",
        _NOISE,
        "        noise += patient_sum[start : start + len(noise)]\n",
        "        noise += patient_sum[start : start + len(noise)] if patient_sum.any() else -noise\n",
        (_OF_NOISE,),
    ),
    Mutant(
        "kernels: no room for rounding",
        "federation/privacy/summation.py",
        "return clipping_norm * (1.0 - room_for_rounding(num_parameters, grid_bits=grid_bits))",
        "return clipping_norm",
        ("tests/federation/privacy/test_summation.py",),
    ),
    Mutant(
        "kernels: gradients that are not finite count",
        "federation/privacy/summation.py",
        "return factors.nan_to_num_(nan=0.0)",
        "return factors",
        ("tests/federation/privacy/test_summation.py",),
    ),
    Mutant(
        "kernels: the bias left out of a gradient's norm",
        "federation/models/stacked/sinks.py",
        "                inputs += 1.0\n",
        "                inputs += 0.0\n",
        ("tests/federation/models/stacked/test_kernels.py",),
    ),
    Mutant(
        "kernels: the bias left out of a patient's norm",
        "federation/models/stacked/patient_sums.py",
        "            part += 1.0\n",
        "            part += 0.0\n",
        ("tests/federation/models/stacked/test_kernels.py",),
    ),
    Mutant(
        "a place in a pass that shows is not noticed",
        "site_client/row_order.py",
        "if not np.array_equal(",
        "if np.array_equal([], [0]) and not np.array_equal(",
        ("tests/site_client/test_row_order.py",),
    ),
    Mutant(
        "passes of half a loop of vectors",
        "site_client/kernel_step.py",
        "_ROWS: Final = 32\n",
        "_ROWS: Final = 16\n",
        ("tests/site_client/test_kernel_step.py",),
    ),
    Mutant(
        "scores are released without a look at the places in a pass",
        "site_client/paid_evaluation.py",
        "    check_scores(model, prepared_dataset(dataset, prepared), task=manifest.objective)\n",
        "",
        ("tests/site_client/test_row_order.py",),
    ),
    Mutant(
        "kernels: patients that are apart take all of the clipping norm",
        "site_client/kernel_step.py",
        "            room=room_for_rounding(self._network.num_parameters, grid_bits=self._grid_bits),\n",
        "",
        ("tests/site_client/test_kernel_step.py",),
    ),
    Mutant(
        "kernels: patients that are apart are added twice",
        "site_client/kernel_step.py",
        "        factors[apart] = 0.0\n",
        "",
        ("tests/site_client/test_kernel_step.py",),
    ),
    Mutant(
        "every noise from one key",
        "federation/privacy/keystream.py",
        "return cls(generator.bytes(KEY_BYTES))",
        "return cls(bytes(KEY_BYTES))",
        (_OF_NOISE, "tests/federation/privacy/test_keystream.py"),
    ),
    Mutant(
        "one key for every site and study",
        _RANDOMNESS,
        "return RandomStreams(secrets.token_bytes(_KEY_BYTES))",
        "return RandomStreams(bytes(_KEY_BYTES))",
        (_OF_NOISE, "tests/site_client/test_training_private.py"),
    ),
    Mutant(
        "seeded noise on patients",
        _RANDOMNESS,
        "if provenance not in _SEEDABLE:",
        'if provenance == "unknown":',
        (_OF_STREAMS,),
    ),
    Mutant(
        "streams of different labels coincide",
        _RANDOMNESS,
        'len(content).to_bytes(8, "big"), content]',
        "content]",
        (_OF_STREAMS,),
    ),
    Mutant(
        "missing clip",
        _CLIPPING,
        "factors = clipping_norm / np.maximum(norms, clipping_norm)",
        "factors = np.ones_like(norms)",
        (_OF_CLIPPING, _REPLAY),
    ),
    Mutant(
        "clipped at one whatever the clipping norm",
        _CLIPPING,
        "factors = clipping_norm / np.maximum(norms, clipping_norm)",
        "factors = 1.0 / np.maximum(norms, 1.0)",
        (_OF_CLIPPING, _REPLAY),
    ),
    Mutant(
        "clip in the largest coordinate, not in L2",
        _CLIPPING,
        'norms = np.sqrt(np.einsum("pd,pd->p", gradients, gradients))',
        "norms = np.abs(gradients).max(axis=1, initial=0.0)",
        (_OF_CLIPPING,),
    ),
    Mutant(
        "norms in float32",
        _CLIPPING,
        'norms = np.sqrt(np.einsum("pd,pd->p", gradients, gradients))',
        'norms = np.sqrt(np.einsum("pd,pd->p", gradients.astype(np.float32), gradients.astype(np.float32))).astype(float)',
        (_OF_CLIPPING,),
    ),
    Mutant(
        "float32 sum",
        _CLIPPING,
        "grid_bits=grid_bits).sum(axis=0)",
        "grid_bits=grid_bits).astype(np.float32).sum(axis=0).astype(np.float64)",
        (_OF_CLIPPING,),
    ),
    Mutant(
        "NaN patient not zeroed",
        _CLIPPING,
        "    clipped[np.isinf(norms)] = 0.0\n",
        "",
        (_OF_CLIPPING,),
    ),
    Mutant(
        "rounding not counted in the sensitivity",
        _CLIPPING,
        "return np.trunc(scaled, out=scaled)",
        "return np.rint(scaled, out=scaled)",
        (_OF_CLIPPING,),
    ),
    Mutant(
        "grid too fine: twice the declared sensitivity",
        _CLIPPING,
        "scaled = clipped * (2.0**grid_bits / clipping_norm)",
        "scaled = clipped * (2.0 ** (grid_bits + 1) / clipping_norm)",
        (_OF_CLIPPING, _REPLAY),
    ),
    Mutant(
        "sampling probability follows the number of patients",
        _SAMPLING,
        "last = np.uint64((numerator << _DISCARDED_BITS) - 1)",
        "last = np.uint64((numerator // max(1, num_patients) * 16 << _DISCARDED_BITS) - 1)",
        (_OF_SAMPLING, _STATISTICS),
    ),
    Mutant(
        "a batch of fixed size",
        _SAMPLING,
        "return np.flatnonzero(words <= last)",
        "return np.sort(np.argsort(words)[: num_patients * numerator // PROBABILITY_DENOMINATOR])",
        (_OF_SAMPLING, _STATISTICS),
    ),
    Mutant(
        "discrete Gaussian of half the variance",
        _DISCRETE,
        "denominator = 2 * variance * scale * scale",
        "denominator = variance * scale * scale",
        (_OF_COUNTS,),
    ),
    Mutant(
        "discrete Laplace gives zero twice as often",
        _DISCRETE,
        "        kept &= ~(negative & (magnitude == 0))  # zero must not come twice as often\n",
        "",
        (_OF_COUNTS,),
    ),
    Mutant(
        "counts released with half the scale",
        _DISCRETE,
        "scale=mechanism.scale, generator=generator)",
        "scale=max(1, mechanism.scale // 2), generator=generator)",
        (_OF_COUNTS, "tests/federation/privacy/test_neighbours.py"),
    ),
    Mutant(
        "one noise for all counts",
        _DISCRETE,
        "return counts + discrete_gaussian(len(counts), variance=mechanism.variance, generator=generator)",
        "return counts + discrete_gaussian(1, variance=mechanism.variance, generator=generator)",
        (_OF_COUNTS, "tests/federation/privacy/test_neighbours.py"),
    ),
)
