"""The model card: one Markdown page from manifest, report and privacy statement. Nothing in it comes from elsewhere.

What the study's documents do not say, the card does not say either; it names what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from aggregator.release.finished_study import FinishedStudy
from aggregator.report.content import Estimate, PrivacyStatement, SettingPerformance, StudyReport
from aggregator.report.task_facts import terms_facts
from federation.data.arrays import Image, Mask, Signal
from federation.data.contract import Categorical, Continuous, ImputeMissing, Integer, Ordinal, Variable
from federation.governance.releases import Parity
from federation.statistics.result import StudyAnalysis
from federation.study.manifest import StudyManifest

_FEDERATED: Final = "federated"
_NOT_SAID: Final = (
    "The study's documents state no intended user and no validation for use in care. Performance is that of the sites and "
    "the time of this study."
)


def model_card(study: FinishedStudy, parity: Parity) -> str:
    """The card as Markdown."""
    manifest, report = study.manifest, study.report
    parts = [
        f"# Model card: {_plain(manifest.title)}",
        _identity(study),
        "## What it predicts",
        *_task(manifest),
        "## What it reads",
        _variables(manifest),
        "## How it was trained",
        _training(manifest),
        "## Performance",
        *_performance(report),
        *_statistics(study),
        "## Privacy",
        *_privacy(report.privacy, study),
        "## Files",
        _files(parity),
        "## What this card does not say",
        _NOT_SAID,
    ]
    return "\n\n".join(parts) + "\n"


def _files(parity: Parity) -> str:
    return (
        "`model.safetensors` is the model of the study, `model.onnx` the same with the encoding of its inputs: on "
        f"{parity.patients} generated patients their scores differ by at most {parity.largest_difference:.2g} (allowed: "
        f"{parity.tolerance:g}). `manifest.json` is the study as all sites agreed on it, `privacy_statement.json` the "
        "statement in full, `release.json` the SHA-256 of every file with the signatures. Check the folder with "
        "`cohortium study verify-release`."
    )


def _identity(study: FinishedStudy) -> str:
    manifest = study.manifest
    return _table(
        ("", ""),
        (
            ("Study", f"{manifest.study}, version {manifest.version}"),
            ("Question", manifest.question),
            ("Manifest", f"`{manifest.digest}`"),
            ("Report of", study.report.created),
            ("Records", f"{manifest.cohort.provenance}; licence: {manifest.data_licence or 'not stated'}"),
            ("Legal basis", manifest.legal_basis or "not stated"),
            ("Sites", ", ".join(entry.site for entry in manifest.roster)),
        ),
    )


def _task(manifest: StudyManifest) -> Sequence[str]:
    outcome = manifest.contract.outcome
    said = {
        "binary": "the probability of",
        "multiclass": "the probability of each level of",
        "regression": "the value of",
        "segmentation": "for each pixel the probability that it belongs to",
        "count": "the expected count of",
        "quantile": "quantiles of",
        "survival": "event-free survival, or the risk, of",
    }[manifest.task]
    lines = [
        f"For a record, {said} `{outcome.name}`"
        + (f" ({_plain(outcome.description)})." if outcome.description else ".")
    ]
    if isinstance(outcome, Categorical | Ordinal):
        lines.append("Levels: " + ", ".join(_plain(str(level)) for level in outcome.levels) + ".")
    lines += [f"{fact.label}: {fact.value}. {fact.explanation}" for fact in terms_facts(manifest)]
    if isinstance(outcome, Continuous | Integer):
        lines.append(f"Unit: {_plain(outcome.unit)}; plausible range {outcome.minimum:g} to {outcome.maximum:g}.")
    return lines


def _variables(manifest: StudyManifest) -> str:
    rows = [
        (f"`{variable.name}`", variable.kind, _range(variable), _missing(variable), variable.description)
        for variable in manifest.contract.variables
    ]
    return _table(("variable", "kind", "range or levels", "if missing", "meaning"), rows)


def _range(variable: Variable) -> str:
    if isinstance(variable, Continuous | Integer):
        return f"{variable.minimum:g} to {variable.maximum:g} {variable.unit}"
    if isinstance(variable, Categorical | Ordinal):
        return ", ".join(str(level) for level in variable.levels)
    if isinstance(variable, Image | Signal | Mask):
        return " x ".join(map(str, variable.shape)) + " values"
    return "0 or 1"


def _missing(variable: Variable) -> str:
    rule = variable.missing
    return f"taken as {rule.value}" if isinstance(rule, ImputeMissing) else "no score"


def _training(manifest: StudyManifest) -> str:
    schedule, aggregation = manifest.schedule, manifest.aggregation
    sums = "plain" if aggregation.masked is None else "masked, only sums were opened"
    return (
        f"Model: {manifest.model.kind}. Federated over {len(manifest.roster)} sites by {manifest.algorithm.kind}, "
        f"{schedule.rounds} rounds of {schedule.local_steps} local steps. Aggregation: "
        f"{sums if aggregation.robust is None else 'open and robust'}."
    )


def _performance(report: StudyReport) -> Sequence[str]:
    setting = report.setting(_FEDERATED)
    if setting is not None and setting.overall:
        return _assessed(setting, report)
    evaluated = [point for point in report.convergence if point.metrics]
    if not evaluated:
        return ("The study released no figures on performance.",)
    last = evaluated[-1]
    rows = [
        (name, f"{value:.3f}", f"± {last.metric_errors[name]:.2g}" if name in last.metric_errors else "exact")
        for name, value in sorted(last.metrics.items())
    ]
    return (
        f"Of the model after round {last.round_number}, over the test patients of all sites together, as the study released it.",
        _table(("metric", "value", "error that privacy noise adds"), rows),
    )


def _statistics(study: FinishedStudy) -> Sequence[str]:
    """Beside the model; nothing if the study took none."""
    spec = study.manifest.statistics
    if spec is None:
        return ()
    released = {analysis.name: analysis for analysis in study.analyses}
    rows = [(f"`{agreed.name}`", agreed.kind, _became(released.get(agreed.name))) for agreed in spec.analyses]
    return (
        "## Exact statistics",
        (
            "The study also took exact statistics over all patients of its sites, from secure sums. They carry no privacy noise, "
            f"the model has nothing of them, and counts of fewer than {spec.threshold} patients are hidden."
        ),
        _table(("analysis", "kind", "what became of it"), rows),
    )


def _became(analysis: StudyAnalysis | None) -> str:
    if analysis is None:
        return "not part of this release"
    if analysis.result is None:
        return f"no result: {analysis.reason or analysis.error}"
    return f"`statistics/{analysis.name}.json`: {analysis.result.patients} patients, {len(analysis.result.sites)} sites"


def _assessed(setting: SettingPerformance, report: StudyReport) -> Sequence[str]:
    names = list(setting.overall)
    columns: dict[str, Mapping[str, Estimate]] = {"all sites together": setting.overall}
    columns |= {"mean of sites": setting.mean_of_sites} if setting.mean_of_sites else {}
    columns |= {site.site: site.metrics for site in setting.sites}
    rows = [(label, *(_estimate(metrics.get(name)) for name in names)) for label, metrics in columns.items()]
    intervals = f"{report.confidence_level:.0%} intervals" if report.bootstrap_samples else "no intervals were computed"
    notes = [f"{site.site}: {site.note}" for site in setting.sites if site.note]
    return (
        f"On the test patients of the sites; in brackets: {intervals}.",
        _table(("", *names), rows),
        *(f"- {_plain(note)}" for note in notes),
    )


def _estimate(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return f"not defined{': ' + found.note if found is not None and found.note else ''}"
    value = f"{found.value:.3f}"
    return value if found.lower is None or found.upper is None else f"{value} ({found.lower:.3f} to {found.upper:.3f})"


def _privacy(statement: PrivacyStatement, study: FinishedStudy) -> Sequence[str]:
    lines = [_plain(statement.summary)]
    if statement.private:
        lines.append(f"**epsilon {statement.epsilon!r}, delta {statement.delta!r}**, as the manifest promises.")
        rows = [(site, f"{spent:.4g}") for site, spent in sorted(statement.epsilon_spent.items())]
        lines += [_table(("site", "epsilon spent"), rows)] if rows else []
        lines.append(_audit(study))
    if statement.reproducible_noise:
        lines.append(
            "**The noise of this run came from a known seed and protects nobody**: whoever knows the seed can subtract it."
        )
    lines += [_plain(statement.trust_model), "Not covered:"]
    return (*lines, "\n".join(f"- {_plain(limit)}" for limit in statement.not_covered))


def _audit(study: FinishedStudy) -> str:
    if not study.audits:
        return "No empirical audit of this claim was made."
    found = ", ".join(
        f"{audit.kind}: at least {audit.lower_bound_epsilon:.3g} measured, {audit.claimed_epsilon:.3g} claimed"
        for audit in study.audits
    )
    return f"Empirical audits did not refute the claim ({found}). An audit proves no promise; it can only refute one."


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """One line that Markdown and HTML leave as it is. Code spans and tables of ours go through unchanged."""
    line = re.sub(r"\s+", " ", text).strip()
    return line.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("](", "]\\(")
