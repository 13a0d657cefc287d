"""What changed between two versions of a study, field by field, with names that a reader of the review knows."""

from __future__ import annotations

from typing import Final

from federation.documents import Document, Json
from federation.governance.plain_text import plain
from federation.governance.proposals import Proposal

_NAMES: Final = (
    ("manifest.study", "name of the study"),
    ("manifest.version", "version"),
    ("manifest.title", "title"),
    ("manifest.question", "question"),
    ("manifest.legal_basis", "legal basis"),
    ("manifest.expires", "last day, of the manifest"),
    ("manifest.contract.outcome", "outcome"),
    ("manifest.contract.variables", "variable"),
    ("manifest.contract", "data contract"),
    ("manifest.cohort", "which patients"),
    ("manifest.preprocessing", "preprocessing"),
    ("manifest.preparation", "noisy counts before the first round"),
    ("manifest.task", "what is predicted"),
    ("manifest.model", "model"),
    ("manifest.schedule.rounds", "number of rounds"),
    ("manifest.schedule", "training"),
    ("manifest.algorithm", "way of combining"),
    ("manifest.privacy.epsilon", "privacy cost of a patient, epsilon"),
    ("manifest.privacy", "privacy"),
    ("manifest.aggregation", "what the aggregator sees"),
    ("manifest.evaluation", "what is released about performance"),
    ("manifest.roster", "site"),
    ("manifest.software", "version of"),
    ("lead", "key of the lead"),
    ("coordinator", "key of the coordinator"),
    ("approvals_needed", "other sites that must approve"),
    ("expires", "last day, of the proposal"),
    ("supersedes", "version that is replaced"),
    ("start", "model with which it starts"),
    ("purpose", "purpose"),
    ("test_seed", "seed of a test"),
)
_ABSENT: Final = "(not there)"
_KEYS_OF_LISTS: Final = ("name", "site")


class Change(Document):
    """One field that differs."""

    path: str
    """Where it is in the proposal."""
    name: str
    """What it is, in words."""
    before: str
    after: str


def changes(before: Proposal, after: Proposal) -> tuple[Change, ...]:
    """Every field in which two proposals differ, in the order of the document.

    Variables and sites are compared by name, so that one more is one more and not a change of all that follow.
    """
    old, new = _flat(before.as_data()), _flat(after.as_data())
    paths = dict.fromkeys((*new, *old))
    return tuple(
        Change(path=path, name=_name(path), before=old.get(path, _ABSENT), after=new.get(path, _ABSENT))
        for path in paths
        if old.get(path, _ABSENT) != new.get(path, _ABSENT)
    )


def _flat(value: Json, path: str = "") -> dict[str, str]:
    match value:
        case dict() if value:
            parts = [(f"{path}.{key}".lstrip("."), item) for key, item in value.items()]
        case list() if value and any(isinstance(item, dict) for item in value):
            parts = [(f"{path}[{_key(item, number)}]", item) for number, item in enumerate(value)]
        case list():
            return {path: plain(", ".join(map(str, value))) or "(none)"}
        case dict() | None:
            return {path: "(none)"}
        case _:
            return {path: plain(str(value))}
    return {name: text for part, item in parts for name, text in _flat(item, part).items()}


def _key(item: Json, number: int) -> str:
    if isinstance(item, dict):
        for key in _KEYS_OF_LISTS:
            if isinstance(found := item.get(key), str):
                return found
    return str(number)


def _name(path: str) -> str:
    for prefix, words in _NAMES:
        if path == prefix or path.startswith((prefix + ".", prefix + "[")):
            rest = path.removeprefix(prefix).replace("[", " ").replace("]", "").replace(".", " ").strip()
            return f"{words}: {rest}" if rest else words
    return path
