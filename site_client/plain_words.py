"""The parts of a study manifest in words for somebody who answers for patients and not for machine learning."""

from __future__ import annotations

from typing import Final

from federation.data.cohort import CohortDefinition, Criterion
from federation.data.contract import (
    Binary,
    Categorical,
    Continuous,
    DataContract,
    ForbidMissing,
    ImputeMissing,
    Integer,
    Ordinal,
    Outcome,
    TimeToEvent,
    Variable,
)
from federation.governance.plain_text import plain
from federation.models.spec import CnnSpec, LinearSpec, MlpSpec, ModelSpec

_OPERATORS: Final = {
    "eq": "is", "ne": "is not", "lt": "is below", "le": "is at most", "gt": "is above", "ge": "is at least",
    "in": "is one of", "between": "is between", "present": "is known",
}  # fmt: skip
_PROVENANCE: Final = {
    "patients": "real patients of each hospital",
    "public": "public records",
    "synthetic": "generated records that belong to nobody",
}
_TASKS: Final = {
    "binary": "the probability of an outcome that happens or does not",
    "multiclass": "the probability of each of several outcomes",
    "regression": "a number",
    "count": "how often something is to be expected",
    "quantile": "how large a number is at most, at agreed probabilities",
    "survival": "the time to an event, or its risk over time",
}


def variable_in_words(variable: Variable) -> str:
    """Name, kind, range and what happens where it is missing. Everything in it is of the public contract."""
    about = f" ({plain(variable.description)})" if variable.description else ""
    return f"{variable.name}{about}: {_kind(variable)}; {_missing(variable)}"


def outcome_in_words(outcome: Outcome) -> str:
    """As :func:`variable_in_words`; of an outcome in time, all columns that a site supplies."""
    columns = outcome.columns if isinstance(outcome, TimeToEvent) else (outcome,)
    return "; ".join(map(variable_in_words, columns))


def criterion_in_words(criterion: Criterion) -> str:
    """Such as ``age is at least 18``."""
    value, words = criterion.value, f"{criterion.variable} {_OPERATORS[criterion.operator]}"
    match value:
        case None:
            return words
        case tuple():
            joint = " and " if criterion.operator == "between" else ", "
            return f"{words} {joint.join(plain(str(item)) for item in value)}"
        case _:
            return f"{words} {plain(str(value))}"


def cohort_in_words(cohort: CohortDefinition, contract: DataContract) -> list[str]:
    """Whose records are used, and how many of each."""
    found = [_PROVENANCE[cohort.provenance]]
    found += [f"only records where {criterion_in_words(criterion)}" for criterion in cohort.inclusion]
    found += [f"no records where {criterion_in_words(criterion)}" for criterion in cohort.exclusion]
    if contract.index_date is not None:
        latest = contract.index_date.latest or "the day of the study"
        found.append(f"records dated ({contract.index_date.name}) from {contract.index_date.earliest} to {latest}")
    found.append(f"at most {cohort.max_records_per_patient} records of one patient")
    found.append(f"{cohort.test_fraction:.0%} of the patients are kept apart to test the model")
    found.append(f"a hospital with fewer than {cohort.minimum_patients} such patients does not take part")
    return found


def task_in_words(task: str) -> str:
    """What the model predicts."""
    return _TASKS[task]


def model_in_words(model: ModelSpec) -> str:
    """What kind of model, and how large in its own terms."""
    match model:
        case LinearSpec():
            return "a linear model: one weight for each feature"
        case MlpSpec():
            return f"a neural network with hidden layers of {', '.join(map(str, model.hidden))} units"
        case CnnSpec():
            return f"a neural network for images of {' x '.join(map(str, model.image_shape))} values"


def _kind(variable: Variable) -> str:
    match variable:
        case Continuous() | Integer():
            what = "whole number" if isinstance(variable, Integer) else "number"
            return f"{what} from {variable.minimum:g} to {variable.maximum:g} {plain(variable.unit)}"
        case Binary():
            return "yes or no"
        case Categorical() | Ordinal():
            what = "one of" if isinstance(variable, Categorical) else "grade, one of"
            return f"{what} {', '.join(map(plain, variable.levels))}"


def _missing(variable: Variable) -> str:
    match variable.missing:
        case ForbidMissing():
            return "must be known"
        case ImputeMissing() as rule:
            return f"{plain(str(rule.value))} is assumed where it is missing"
        case _:
            return "records without it are left out"
