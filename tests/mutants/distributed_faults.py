"""Faults in distributed noise and in what secure aggregation lets out."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_SHARES: Final = "federation/privacy/distributed.py"
_TERMS: Final = "federation/study/terms.py"
_MASKED: Final = "site_client/masked_replies.py"
_PARTICIPANT: Final = "site_client/secure_participant.py"
_STEP: Final = "site_client/dp_step.py"
_EVALUATION: Final = "site_client/evaluation.py"
_TRAINING: Final = "site_client/training.py"
_OF_SHARES: Final = "tests/federation/privacy/test_distributed.py"
_OF_ROUNDS: Final = "tests/aggregator/test_distributed_rounds.py"
_OF_SUMS: Final = "tests/aggregator/test_secure_sums.py::test_a_site_gives_nothing_in_the_open_and_nothing_twice"
_OF_KEYS: Final = "tests/aggregator/test_secure_sums.py::test_a_different_list_of_keys_is_refused"
_OF_FILES: Final = "tests/aggregator/test_secure_sums.py::test_secrets_are_for_their_owner_and_go_with_their_batch"
_OF_SHAPES: Final = "tests/replay/test_batch_shapes.py"
_OF_NEIGHBOURS: Final = "tests/federation/privacy/test_neighbours.py"

MUTANTS: Final = (
    Mutant(
        "a share of half the variance",
        _SHARES,
        "variance = math.ceil(noise_multiplier**2 * 4.0**bits / shares)",
        "variance = math.ceil(noise_multiplier**2 * 4.0**bits / shares / 2)",
        (_OF_SHARES,),
    ),
    Mutant(
        "a share without noise",
        _SHARES,
        "return patient_sum.astype(np.int64) + noise",
        "return patient_sum.astype(np.int64) + 0 * noise",
        (_OF_SHARES,),
    ),
    Mutant(
        "shares sized for sites that may be missing",
        _TERMS,
        "return NoiseShare.of(privacy.noise_multiplier, shares=least - 1)",
        "return NoiseShare.of(privacy.noise_multiplier, shares=len(self.roster))",
        (_OF_ROUNDS,),
    ),
    Mutant(
        "a site's own share counted towards the noise that it sees",
        _TERMS,
        "return NoiseShare.of(privacy.noise_multiplier, shares=least - 1)",
        "return NoiseShare.of(privacy.noise_multiplier, shares=least)",
        (_OF_ROUNDS,),
    ),
    Mutant(
        "gradients on a finer grid than the noise",
        _STEP,
        "total += clipped_sum(sums[:-1], clipping_norm=clipping_norm, grid_bits=self._grid_bits, room=self._room)",
        "total += clipped_sum(sums[:-1], clipping_norm=clipping_norm, grid_bits=self._grid_bits + 1, room=self._room)",
        (_OF_ROUNDS,),
    ),
    Mutant(
        "numbers in the open if nobody asks for masks",
        _MASKED,
        "    if batch is None:\n        raise PrivacyRefusedError(",
        "    if batch is None:\n        return reply\n    if batch is None:\n        raise PrivacyRefusedError(",
        (_OF_SUMS,),
    ),
    Mutant(
        "keys of one purpose used for another",
        _MASKED,
        "    if batch.purpose != purpose:\n",
        "    if not batch.purpose:\n",
        (_OF_SUMS,),
    ),
    Mutant(
        "what a round opened is forgotten",
        _PARTICIPANT,
        "earlier = restore_round(memory.read_bytes()) if memory.is_file() else None",
        "earlier = None",
        (_OF_SUMS,),
    ),
    Mutant(
        "a second list of keys is answered",
        _PARTICIPANT,
        "            if known != request:\n",
        "            if not known:\n",
        (_OF_KEYS,),
    ),
    Mutant(
        "secrets that everybody can read",
        _PARTICIPANT,
        "write_durably(memory, phase.to_bytes(), secret=True)\n        self._forget",
        "write_durably(memory, phase.to_bytes())\n        self._forget",
        (_OF_FILES,),
    ),
    Mutant(
        "keys kept after their batch",
        _PARTICIPANT,
        "        self._forget(batch.purpose, before=round_number)\n",
        "",
        (_OF_FILES,),
    ),
    Mutant(
        "passes as long as the draw",
        _STEP,
        "features = torch.zeros((self._physical_records, self._dataset.features.shape[1]))",
        "self._physical_records = len(rows)\n        "
        "features = torch.zeros((self._physical_records, self._dataset.features.shape[1]))",
        (_OF_SHAPES,),
    ),
    Mutant(
        "scores in passes as long as the data",
        _EVALUATION,
        "filled = torch.zeros((length, features.shape[1]))",
        "filled = torch.zeros((len(features), features.shape[1]))",
        (_OF_SHAPES,),
    ),
    Mutant(
        "buffers not compared after the steps",
        _TRAINING,
        "        check_memory(working, memory)",
        "        pass",
        (_OF_NEIGHBOURS,),
    ),
)
