"""A manifest to begin with: private, masked where there are sites enough, with its noise calibrated, and with comments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from federation.data.contract import Binary, Categorical, DataContract, Ordinal, TimeToEvent
from federation.documents import Json
from federation.identifiers import Provenance, SiteId, TaskKind
from federation.privacy.accounting import NOTHING, add, cost_of
from federation.privacy.calibration import calibrate_noise_multiplier, calibrate_variance, sampling_numerator_of
from federation.privacy.events import DiscreteGaussian
from federation.protocol.secure_sum.terms import FEWEST_SITES

FILL_IN: Final = "FILL IN"
"""Stands in a template where the lead has to write; a manifest that still holds it is not signed."""
_EVALUATION_SHARE: Final = 0.1
_SCORE_BINS: Final = 20

_HEAD: Final = """\
# A study over {contract}. Complete what says FILL IN, the roster and its numbers of patients, then:
# cohortium study check THIS_FILE
# The noise below keeps the promise for exactly these rounds, steps and evaluations; after a change of them,
# `cohortium study calibrate THIS_FILE` prints the new noise_multiplier.
"""
_COMMENTS: Final = {
    "legal_basis": "Permit, consent or law under which the records are used; the officers of the sites read it.",
    "expires": "Last day on which the study may run, such as 2031-12-31; null: no end.",
    "cohort": "Who is in the study. Criteria look like {variable: age, operator: ge, value: 18}.",
    "model": "Or {kind: mlp, hidden: [32]}.",
    "schedule": "Every round is one message to and from each site; local_steps are the same number at all sites.",
    "privacy": "Per patient, over the whole study. delta: well below one in the number of patients of a site.",
    "aggregation": "masked: the aggregator sees sums over sites only. Needs three sites; plain: it sees each update.",
    "evaluation": "sum: noisy counts over all sites, paid for out of the same promise; none: nothing.",
    "roster": "Every site with its public key, and the number of training patients that it declares. weight: as a rule that "
    "number.",
    "contract": "The meaning of every variable: agreed with the sites before any of them looks at a record.",
}


@dataclass(frozen=True)
class Wishes:
    """What a lead wants of a template.

    Args:
        provenance: Of the cohort.
        rounds: At least 1.
        local_steps: At least 1.
        epsilon: Over the whole study.
        delta: In (0, 1).
        sampling_probability: Chance that a patient enters a step.
    """

    provenance: Provenance = "patients"
    rounds: int = 20
    local_steps: int = 10
    epsilon: float = 2.0
    delta: float = 1e-5
    sampling_probability: float = 0.1


def template(
    contract: DataContract,
    wishes: Wishes,
    *,
    keys: Mapping[SiteId, str],
    patients: Mapping[SiteId, int],
    software: Mapping[str, str],
) -> str:
    """The text of a manifest in YAML.

    Args:
        contract: Of the study.
        wishes: What is not left to the defaults.
        keys: Public key by site; empty: the roster is left to the lead.
        patients: Declared training patients by site, as far as they are known.
        software: Versions of what can change the numbers.

    Raises:
        PrivacyRefusedError: If no noise keeps the promise.
    """
    parts: dict[str, Json] = {
        "format": "cohortium/study-manifest/1",
        "study": _short(contract.name),
        "version": 1,
        "title": contract.name,
        "question": f"How well do {len(contract.variables)} variables predict {contract.outcome.name}?",
        "legal_basis": FILL_IN if wishes.provenance == "patients" else "",
        "expires": None,
        "cohort": _cohort(wishes.provenance),
        "task": _task(contract),
        **_terms(contract),
        "model": {"kind": "linear"},
        "schedule": {
            "rounds": wishes.rounds,
            "local_steps": wishes.local_steps,
            "evaluate_every": wishes.rounds,
            "optimiser": {"kind": "sgd", "learning_rate": 0.1},
        },
        "algorithm": {"kind": "fedavg"},
        **_promises(wishes),
        **({"evaluation": {"release": "none"}} if isinstance(contract.outcome, TimeToEvent) else {}),
        "aggregation": _aggregation(len(keys)),
        "roster": _roster(keys, patients),
        "contract": contract.as_data(),
        "software": dict(software),
    }
    return _HEAD.format(contract=contract.name.replace("\n", " ")) + "".join(_block(*part) for part in parts.items())


def _block(name: str, value: Json) -> str:
    comment = f"\n# {_COMMENTS[name]}\n" if name in _COMMENTS else ""
    return comment + yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=120)


def _short(name: str) -> str:
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:63]
    return word or "study"


def _cohort(provenance: Provenance) -> Json:
    return {
        "provenance": provenance,
        "inclusion": [],
        "exclusion": [],
        "max_records_per_patient": 1,
        "test_fraction": 0.3,
        "minimum_patients": 100 if provenance == "patients" else 2,
    }


def _task(contract: DataContract) -> TaskKind:
    match contract.outcome:
        case Binary():
            return "binary"
        case Categorical() | Ordinal():
            return "multiclass"
        case TimeToEvent():
            return "survival"
        case _:
            return "regression"


def _terms(contract: DataContract) -> dict[str, Json]:
    """Ten intervals of equal width: a start from which the lead goes on."""
    outcome = contract.outcome
    if not isinstance(outcome, TimeToEvent):
        return {}
    edges: list[Json] = [round(outcome.maximum * part / 10, 6) for part in range(1, 11)]
    return {"task_terms": {"kind": "discrete_time", "edges": edges, "hazard": "cloglog", "effects": "proportional"}}


def _promises(wishes: Wishes) -> dict[str, Json]:
    share = _EVALUATION_SHARE * wishes.epsilon
    variance = calibrate_variance(epsilon=share, delta=wishes.delta, sensitivity_squared=1, releases=1)
    numerator = sampling_numerator_of(wishes.sampling_probability)
    multiplier = calibrate_noise_multiplier(
        epsilon=wishes.epsilon,
        delta=wishes.delta,
        sampling_numerator=numerator,
        steps=wishes.local_steps,
        rounds=wishes.rounds,
        beside=add(NOTHING, cost_of(DiscreteGaussian(sensitivity_squared=1, variance=variance))),
    )
    return {
        "privacy": {
            "kind": "patient_level",
            "epsilon": wishes.epsilon,
            "delta": wishes.delta,
            "clipping_norm": 1.0,
            "sampling_numerator": numerator,
            "noise_multiplier": multiplier,
        },
        "evaluation": {"release": "sum", "score_bins": _SCORE_BINS, "noise": {"variance": variance}},
    }


def _aggregation(sites: int) -> Json:
    if 0 < sites < FEWEST_SITES:
        return {"mode": "plain", "quorum": sites}
    return {"mode": "masked", "quorum": FEWEST_SITES, "masked": {"value_range": 10.0, "norm_bound": 10.0}}


def _roster(keys: Mapping[SiteId, str], patients: Mapping[SiteId, int]) -> Json:
    return [
        {
            "site": site,
            "weight": float(patients[site]) if site in patients else 1.0,
            "training_patients": patients.get(site),
            "public_key": key,
        }
        for site, key in keys.items()
    ]
