"""Faults in the private step, in local training, in the validator of models and in the manifest."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_STEP: Final = "site_client/dp_step.py"
_TRAINING: Final = "site_client/training.py"
_INDEPENDENCE: Final = "federation/privacy/independence.py"
_MANIFEST: Final = "federation/study/manifest.py"
_PRIVATE: Final = "tests/site_client/test_training_private.py"
_ORACLE: Final = "tests/oracles/test_dp_sgd.py"
_REPLAY: Final = "tests/replay/test_training.py"
_MODELS: Final = "tests/federation/privacy/test_independence.py"
_NEIGHBOURS: Final = "tests/federation/privacy/test_neighbours.py"

MUTANTS: Final = (
    Mutant(
        "clip per record instead of per patient",
        _STEP,
        "if positions[-1] == len(rows) - 1:",
        "if len(rows):",
        (_ORACLE, _REPLAY),
    ),
    Mutant(
        "truncated batch",
        _STEP,
        "for start in range(0, len(rows), self._physical_records):",
        "for start in range(0, min(len(rows), self._physical_records), self._physical_records):",
        (_PRIVATE, _REPLAY),
    ),
    Mutant(
        "a patient clipped once for each physical batch",
        _STEP,
        "if owners[start] == open_owner:",
        "if owners[start] < open_owner:",
        (_PRIVATE, _REPLAY),
    ),
    Mutant(
        "gradients scaled by the number of records",
        _STEP,
        'loss_reduction="sum"',
        'loss_reduction="mean"',
        (_ORACLE, _REPLAY),
    ),
    Mutant(
        "the last patient of a batch unclipped",
        _STEP,
        "return total + clipped_sum(open_sum, clipping_norm=clipping_norm, grid_bits=self._grid_bits, room=self._room)",
        "return total + np.trunc(np.nan_to_num(open_sum) * (2.0**24 / clipping_norm)).sum(axis=0)",
        (_REPLAY,),
    ),
    Mutant(
        "empty draw skipped",
        _TRAINING,
        "            total = patients.clipped_sum(drawn,",
        "            if not len(drawn):\n                continue\n            total = patients.clipped_sum(drawn,",
        (_PRIVATE,),
    ),
    Mutant(
        "noise reused between steps",
        _TRAINING,
        "released = noisy_mean(total, mechanism=mechanism, generator=noise)",
        'released = noisy_mean(total, mechanism=mechanism, generator=streams.stream("noise"))',
        (_PRIVATE,),
    ),
    Mutant(
        "noise reused between rounds",
        _TRAINING,
        'streams=streams.child("private", round_number),',
        'streams=streams.child("private"),',
        (_PRIVATE,),
    ),
    Mutant(
        "sampling and noise from one stream",
        _TRAINING,
        'sampling = KeyStream.from_streams(streams, "sampling")',
        'sampling = KeyStream.from_streams(streams, "noise")',
        (_ORACLE, _NEIGHBOURS),
    ),
    Mutant(
        "steps not charged",
        _TRAINING,
        "return round_event(mechanism)",
        'return round_event(mechanism).model_copy(update={"steps": 1})',
        (_PRIVATE,),
    ),
    Mutant(
        "more steps than accounted",
        _TRAINING,
        "if mechanism.steps_per_round != schedule.local_steps:",
        "if mechanism.steps_per_round > schedule.local_steps:",
        (_PRIVATE,),
    ),
    Mutant(
        "models not checked before training",
        _TRAINING,
        "    check_independence(model, (dataset.features.shape[1],))\n",
        "",
        (_PRIVATE, _NEIGHBOURS),
    ),
    Mutant(
        "divisor by the patients drawn",
        _TRAINING,
        "released = noisy_mean(total, mechanism=mechanism, generator=noise)",
        'released = noisy_mean(\n                total, mechanism=mechanism.model_copy(update={"divisor": float(max(1, len(drawn)))}), generator=noise\n'
        "            )",
        (_PRIVATE, _REPLAY),
    ),
    Mutant(
        "number of patients hidden in the update",
        _TRAINING,
        "parameters = _finite(flatten(working), round_number)",
        "parameters = _finite(flatten(working) * np.float32(1 + 1e-6 * dataset.num_patients), round_number)",
        (_REPLAY,),
    ),
    Mutant(
        "early stop on the gradients",
        _TRAINING,
        "            released = noisy_mean(total,",
        "            if 0 < np.linalg.norm(total) < 2**23:\n                return\n            released = noisy_mean(total,",
        (_REPLAY,),
    ),
    Mutant(
        "an unclipped gradient released",
        _TRAINING,
        "yield torch.from_numpy(released.astype(np.float32, copy=False))",
        "yield torch.from_numpy((released + total * 2.0**-40).astype(np.float32))",
        (_REPLAY,),
    ),
    Mutant(
        "batch norm accepted",
        "federation/models/build.py",
        'if private and not isinstance(spec, LinearSpec | GruSpec) and spec.normalisation == "batch":',
        'if private and isinstance(spec, CnnSpec) and spec.normalisation == "batch":',
        ("tests/federation/models/test_build.py", _NEIGHBOURS),
    ),
    Mutant(
        "batch norm accepted in a manifest",
        _MANIFEST,
        'if not isinstance(model, LinearSpec | GruSpec) and model.normalisation == "batch":',
        'if isinstance(model, LinearSpec) and model.normalisation == "batch":',
        (_NEIGHBOURS,),
    ),
    Mutant(
        "buffer thief accepted",
        _INDEPENDENCE,
        "if _differs(before, _state(tried)):",
        "if len(before) != len(_state(tried)):",
        (_MODELS,),
    ),
    Mutant(
        "only registered buffers are looked at",
        _INDEPENDENCE,
        "        yield from (value for value in attributes.values() if isinstance(value, Tensor))\n",
        "        del attributes\n",
        (_MODELS, _NEIGHBOURS),
    ),
    Mutant(
        "cross-record operations accepted",
        _INDEPENDENCE,
        "if _differs(first, changed):",
        "if len(first) != len(changed):",
        (_MODELS,),
    ),
    Mutant(
        "mixing in backward accepted",
        _INDEPENDENCE,
        "return [outputs[_OBSERVED].detach(), *own, shared[_OBSERVED]]",
        "return [outputs[_OBSERVED].detach()]",
        (_MODELS,),
    ),
    Mutant(
        "division by the number of records accepted",
        _INDEPENDENCE,
        "fewer = _observed(tried, records[: _OBSERVED + 1])",
        "fewer = _observed(tried, records)",
        (_MODELS,),
    ),
    Mutant(
        "divisor without the sampling probability",
        "federation/study/terms.py",
        "divisor=self.privacy.sampling_probability * self.entry(site).training_patients,",
        "divisor=float(self.entry(site).training_patients),",
        (_NEIGHBOURS,),
    ),
    Mutant(
        "a manifest whose noise does not keep its promise",
        _MANIFEST,
        "if epsilon > self.privacy.epsilon:",
        "if epsilon > 2 * self.privacy.epsilon:",
        (_NEIGHBOURS,),
    ),
    Mutant(
        "exact evaluation beside a promise",
        _MANIFEST,
        'if self.evaluation.release != "none" and self.evaluation.noise is None:',
        'if self.evaluation.release == "sum" and self.evaluation.noise is None:',
        (_NEIGHBOURS,),
    ),
    Mutant(
        "unpaid means of the site's records",
        _MANIFEST,
        'if self.preprocessing != "public_ranges":',
        'if self.preprocessing == "unknown":',
        (_NEIGHBOURS,),
    ),
)
