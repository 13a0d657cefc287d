"""The study ``synthetic``: hospitals drawn from any contract, with a known truth. See README.md beside this file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from experiments.studies.definition import PreparedStudy, StudyDefinition, StudySite, read_contract
from experiments.studies.synthetic.files import write_hospital
from experiments.synthetic_hospitals import HospitalSettings, draw_hospitals
from federation.data.cohort import CohortDefinition
from federation.data.contract import DataContract
from federation.documents import Json
from federation.durable_files import write_durably
from federation.errors import ConfigurationError
from federation.identifiers import TaskKind
from federation.models.task_terms import DiscreteTimeTerms, QuantileTerms, TaskTerms
from federation.privacy.randomness import seeded_streams
from site_client.sources.tables import TableSource

_HERE: Final = Path(__file__).parent

TRUE_MODEL_FILE: Final = "true_model.json"
"""In the study's folder: a :class:`experiments.true_model.TrueModel`."""

_DAYS: Final[dict[str, Json]] = {
    "name": "days_in_hospital",
    "kind": "integer",
    "unit": "day",
    "minimum": 0,
    "maximum": 60,
    "missing": {"rule": "forbid"},
}
_OUTCOMES: Final[dict[TaskKind, dict[str, Json]]] = {
    "multiclass": {
        "name": "discharge",
        "kind": "categorical",
        "levels": ["home", "rehabilitation", "care"],
        "missing": {"rule": "forbid"},
    },
    "regression": {
        "name": "length_of_stay",
        "kind": "continuous",
        "unit": "day",
        "minimum": 0,
        "maximum": 60,
        "missing": {"rule": "forbid"},
    },
    "count": _DAYS,
    "quantile": _DAYS,
    "survival": {"name": "follow_up", "kind": "time_to_event", "unit": "day", "maximum": 1000, "event": "died"},
}
"""Outcomes of the built-in contract for the other tasks."""
_TERMS: Final[dict[TaskKind, QuantileTerms | DiscreteTimeTerms]] = {
    "quantile": QuantileTerms(levels=(0.1, 0.5, 0.9)),
    "survival": DiscreteTimeTerms(edges=tuple(float(edge) for edge in range(100, 1001, 100))),
}
"""Terms of the tasks that need some, unless the options name others."""


class SyntheticOptions(HospitalSettings):
    """Options of the study: how hospitals are drawn, and from what."""

    contract: str | None = None
    """Path of a data contract in YAML; ``None``: the built-in one."""
    task: TaskKind = "binary"
    task_terms: TaskTerms | None = None
    """Of a quantile or survival task; ``None``: deciles 1, 5 and 9, or ten intervals of proportional hazards."""


def define(options: SyntheticOptions) -> StudyDefinition:
    """The study's public definition.

    Raises:
        ConfigurationError: If the contract's file cannot be read.
        ManifestError: If it is not a data contract.
    """
    return StudyDefinition(
        name="synthetic",
        title="Synthetic hospitals with a known truth",
        question="Does the federation find the model that the outcomes were drawn from?",
        provenance="synthetic",
        data_licence="generated; no licence needed",
        task=options.task,
        task_terms=options.task_terms or _TERMS.get(options.task),
        contract=_contract(options),
        cohort=CohortDefinition(provenance="synthetic", max_records_per_patient=options.max_records_per_patient),
    )


def _contract(options: SyntheticOptions) -> DataContract:
    if options.contract is not None:
        return read_contract(Path(options.contract))
    built_in = read_contract(_HERE / "contract.yaml")
    if options.task == "binary":
        return built_in
    return DataContract.from_data({**built_in.as_data(), "outcome": _OUTCOMES[options.task]})


def prepare(options: Mapping[str, object], *, seed: int, folder: Path, data: Path | None) -> PreparedStudy:
    """Draw the hospitals, and write their files and the truth.

    Args:
        options: See :class:`SyntheticOptions`.
        seed: Of everything drawn.
        folder: Where ``<site>/patients.csv``, ``<site>/mapping.yaml`` and ``true_model.json`` are written.
        data: Not needed.

    Raises:
        ConfigurationError: For an unknown or impossible option.
        ManifestError: If ``contract`` is not a data contract.
    """
    del data
    chosen = SyntheticOptions.from_data(dict(options), error=ConfigurationError)
    definition = define(chosen)
    contract = definition.contract
    hospitals, truth = draw_hospitals(
        contract,
        task=chosen.task,
        settings=chosen,
        streams=seeded_streams(seed, provenance=definition.provenance).child("study", "synthetic"),
    )
    write_durably(folder / TRUE_MODEL_FILE, _readable(truth))
    return PreparedStudy(
        definition=definition,
        sites=tuple(
            StudySite(
                site=records.site,
                source=TableSource(
                    write_hospital(records, contract=contract, folder=folder / records.site),
                    folder=folder / records.site,
                ),
                public_patients=len(set(records.patient_keys.tolist())),
            )
            for records in hospitals
        ),
    )


def _readable(document: BaseModel) -> bytes:
    return (json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()
