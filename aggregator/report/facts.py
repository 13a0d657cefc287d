"""The agreed settings and the rounds of a study as report content, from the manifest and its result alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

from aggregator.report.content import Fact, RoundPoint
from aggregator.report.robustness import aggregation_facts
from aggregator.report.task_facts import terms_facts
from aggregator.report.wire import compression_facts
from federation.data.cohort import Criterion
from federation.models.spec import Cnn1dSpec, CnnSpec, GruSpec, LinearSpec, MlpSpec, UnetSpec
from federation.privacy.promise import PatientLevelPrivacy
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult

_NAMED_INPUTS = 8
_OPERATORS = {"eq": "=", "ne": "≠", "lt": "<", "le": "≤", "gt": ">", "ge": "≥"}
_MODEL_OF_TASK = {
    "binary": "Logistic regression",
    "multiclass": "Multinomial logistic regression",
    "regression": "Linear regression",
    "segmentation": "Logistic regression of each pixel on all others",
    "count": "Poisson regression",
    "quantile": "Linear quantile regression",
    "survival": "Linear survival model",
}
_OPTIMISER_TITLES = {"sgd": "SGD", "adam": "Adam"}
_ALGORITHM_TITLES = {
    "fedavg": "Federated averaging (FedAvg)",
    "fedprox": "FedProx",
    "scaffold": "SCAFFOLD",
    "fedavgm": "FedAvg with server momentum (FedAvgM)",
    "fedadagrad": "FedAdagrad",
    "fedadam": "FedAdam",
    "fedyogi": "FedYogi",
}


def convergence(result: StudyResult) -> tuple[RoundPoint, ...]:
    """The rounds of a study as content; figures that are not finite (a one-class site's AUROC) are left out."""
    return tuple(
        RoundPoint(
            round_number=entry.round_number,
            metrics=_finite(entry.metrics),
            site_metrics={site: _finite(metrics) for site, metrics in entry.site_metrics.items()},
            update_norm=float(entry.update_norm),
            epsilon_spent=_finite(entry.epsilon_spent),
            contributors=tuple(entry.contributors),
            dropouts=dict(entry.dropouts),
            metric_errors=_finite(entry.metric_errors),
            observed=_finite(entry.observed),
            exclusions=dict(entry.exclusions),
            rolled_back=entry.rolled_back,
            unopened=entry.unopened,
            unevaluated=entry.unevaluated,
            bytes_sent=entry.bytes_sent,
            bytes_received=entry.bytes_received,
        )
        for entry in result.rounds
    )


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}


def training_facts(manifest: StudyManifest) -> tuple[Fact, ...]:
    """Cohort, model and training of a study, in words."""
    return (*_cohort_facts(manifest), _model_fact(manifest), *terms_facts(manifest), *_schedule_facts(manifest))


def _cohort_facts(manifest: StudyManifest) -> tuple[Fact, ...]:
    contract, cohort = manifest.contract, manifest.cohort
    names = ", ".join(variable.name for variable in contract.variables[:_NAMED_INPUTS])
    more = len(contract.variables) - _NAMED_INPUTS
    return (
        Fact(label="Outcome", value=contract.outcome.name, explanation=contract.outcome.description),
        Fact(
            label="Inputs",
            value=f"{len(contract.variables)} variables",
            explanation=names + (f" and {more} more" if more > 0 else ""),
        ),
        Fact(
            label="Who is included",
            value=" and ".join(_words(entry) for entry in cohort.inclusion) or "every patient",
            explanation="A record must meet all of this.",
        ),
        Fact(
            label="Who is excluded",
            value=" or ".join(_words(entry) for entry in cohort.exclusion) or "no one",
            explanation="Records with a missing value may be left out as well, as the data contract says.",
        ),
        Fact(
            label="Test patients",
            value=f"{cohort.test_fraction:.0%} of each site",
            explanation="Drawn by patient, so that all records of a patient are on the same side.",
        ),
        Fact(
            label="Scaling of inputs",
            value="by public ranges"
            if manifest.preprocessing == "public_ranges"
            else "by each site's own mean and spread",
            explanation="Nothing is fitted on patients."
            if manifest.preprocessing == "public_ranges"
            else "Means and spreads are fitted on patients: not allowed in a private study.",
        ),
    )


def _words(criterion: Criterion) -> str:
    value = criterion.value
    if criterion.operator == "present":
        return f"{criterion.variable} is known"
    if isinstance(value, tuple):
        if criterion.operator == "between":
            return f"{criterion.variable} from {value[0]} to {value[1]}"
        return f"{criterion.variable} is one of {', '.join(str(entry) for entry in value)}"
    return f"{criterion.variable} {_OPERATORS[criterion.operator]} {value}"


def _model_fact(manifest: StudyManifest) -> Fact:
    match manifest.model:
        case LinearSpec():
            return Fact(label="Model", value=_MODEL_OF_TASK[manifest.task])
        case MlpSpec() as model:
            widths = " and ".join(str(width) for width in model.hidden)
            return Fact(
                label="Model",
                value=f"Neural network with hidden layers of {widths} units",
                explanation=f"Activation: {model.activation}.",
            )
        case CnnSpec() as model:
            channels = " and ".join(str(width) for width in model.channels)
            return Fact(
                label="Model",
                value=f"Convolutional network with {channels} channels and {model.hidden} hidden units",
                explanation=(
                    f"Images (channels x height x width): {' x '.join(str(size) for size in model.image_shape)}."
                ),
            )
        case UnetSpec() as model:
            return Fact(
                label="Model",
                value=f"U-Net with {', '.join(str(width) for width in model.channels)} channels",
                explanation=f"Images (channels x height x width): {' x '.join(map(str, model.image_shape))}.",
            )
        case Cnn1dSpec() | GruSpec() as model:
            return _signal_model(model)


def _signal_model(model: Cnn1dSpec | GruSpec) -> Fact:
    shape = " x ".join(str(size) for size in model.signal_shape)
    if isinstance(model, GruSpec):
        value = f"Gated recurrent unit with {model.hidden} hidden units"
    else:
        channels = " and ".join(str(width) for width in model.channels)
        value = f"Convolutional network over time with {channels} channels and {model.hidden} hidden units"
    return Fact(label="Model", value=value, explanation=f"Signals (channels x samples): {shape}.")


def _schedule_facts(manifest: StudyManifest) -> tuple[Fact, ...]:
    schedule, algorithm = manifest.schedule, manifest.algorithm
    options = {key: value for key, value in algorithm.as_data().items() if key != "kind"}
    optimiser = schedule.optimiser
    batch = (
        f"each patient with a chance of {manifest.privacy.sampling_probability:.3g}"
        if isinstance(manifest.privacy, PatientLevelPrivacy)
        else f"{schedule.batch_size} patients"
    )
    return (
        Fact(
            label="Algorithm",
            value=_ALGORITHM_TITLES.get(algorithm.kind, algorithm.kind),
            explanation=", ".join(f"{key.replace('_', ' ')} {value}" for key, value in options.items()),
        ),
        Fact(
            label="Rounds",
            value=f"{schedule.rounds} rounds of {schedule.local_steps} local steps",
            explanation=(
                "In a round every site trains the shared model for some steps; the aggregator combines what they send."
            ),
        ),
        Fact(
            label="Local optimiser",
            value=f"{_OPTIMISER_TITLES[optimiser.kind]}, learning rate {optimiser.learning_rate:g}",
            explanation=_optimiser_details(manifest),
        ),
        Fact(label="A step uses", value=batch),
        *aggregation_facts(manifest),
        *compression_facts(manifest),
        Fact(
            label="Sites needed per round",
            value=f"{manifest.aggregation.quorum} of {len(manifest.roster)}",
            explanation="With fewer, the round does not count.",
        ),
        Fact(
            label="Seed of the first parameters",
            value=str(manifest.initial_seed),
            explanation="Public; nothing else depends on it.",
        ),
    )


def _optimiser_details(manifest: StudyManifest) -> str:
    schedule = manifest.schedule
    parts = [
        f"momentum {schedule.optimiser.momentum:g}" if schedule.optimiser.momentum else "",
        f"weight decay {schedule.optimiser.weight_decay:g}" if schedule.optimiser.weight_decay else "",
        f"learning rate times {schedule.learning_rate_decay:g} after every round"
        if schedule.learning_rate_decay < 1
        else "",
    ]
    return ", ".join(part for part in parts if part)


def mechanism_facts(manifest: StudyManifest, privacy: PatientLevelPrivacy) -> tuple[Fact, ...]:
    """The privacy mechanism's settings; all public constants of the manifest."""
    schedule = manifest.schedule
    return (
        Fact(
            label="Noise multiplier",
            value=f"{privacy.noise_multiplier:.4f}",
            explanation="Standard deviation of the noise divided by the clipping norm.",
        ),
        Fact(
            label="Clipping norm",
            value=f"{privacy.clipping_norm:g}",
            explanation="Largest length of one patient's summed gradient in one step.",
        ),
        Fact(
            label="Sampling probability",
            value=f"{privacy.sampling_probability:.4g}",
            explanation="Chance that a patient enters a step: a public constant.",
        ),
        Fact(
            label="Noisy steps per site",
            value=f"{schedule.rounds * schedule.local_steps:,}",
            explanation=f"{schedule.rounds} rounds of {schedule.local_steps} local steps.",
        ),
        Fact(
            label="Learning rate",
            value=f"{schedule.optimiser.learning_rate:g}",
            explanation="Applied after the noise, so it costs no privacy; choosing it by trying several would.",
        ),
        *_preparation_facts(manifest),
        *_evaluation_facts(manifest),
    )


def _preparation_facts(manifest: StudyManifest) -> tuple[Fact, ...]:
    spec, event = manifest.preparation, manifest.preparation_event()
    if spec is None or event is None:
        return ()
    return (
        Fact(
            label="Noise of preparation",
            value=f"{math.sqrt(event.variance):.3g} a count",
            explanation="Before round 1 each site counts its training patients once, to place wide ranges and rare levels "
            "(quantiles and vocabularies). Standard deviation of the discrete Gaussian noise on every count; one patient "
            f"moves the counts by at most {math.sqrt(event.sensitivity_squared):.3g} in length. Charged like training.",
        ),
    )


def _evaluation_facts(manifest: StudyManifest) -> tuple[Fact, ...]:
    noise = manifest.evaluation.noise
    if noise is None or manifest.evaluation.release == "none":
        return ()
    tables = 1 + len(noise.subgroups)
    return (
        Fact(
            label="Noise of an evaluation",
            value=f"{math.sqrt(noise.variance):.3g} a count",
            explanation="Standard deviation of the discrete Gaussian noise on every count that a site releases. One patient "
            f"counts with at most {noise.max_records_per_patient} {'records' if noise.max_records_per_patient > 1 else 'record'} "
            f"in each of {tables} {'tables' if tables > 1 else 'table'}.",
        ),
    )
