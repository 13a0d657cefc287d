from __future__ import annotations

import pytest

from conf.mistakes import first_line, kind_by_itself, refuse_unsafe_override, unknown_setting, wrong_choice
from federation.errors import ConfigurationError

TREE = {
    "privacy": {"kind": "none"},
    "schedule": {"rounds": 1, "optimiser": {"kind": "sgd"}},
    "baselines": {"pooled": {"optimiser": None}},
    "study": {"name": "demo", "options": {}},
    "hydra": {"launcher": {"n_jobs": 2}},
}
CHOICES = {"privacy": "none", "study": "demo"}


@pytest.mark.parametrize(
    "line",
    [
        "+study.options._target_=os.system",
        "hydra.launcher._target_=os.system",
        "study={options: {_target_: os.system}}",
        "name=${oc.env:HOME}",
        "name='${study.name}'",
        "hydra.sweep.dir=${oc.env:HOME}",
        "hydra.searchpath=[file:///tmp/elsewhere]",
        "+hydra.callbacks.mine.x=1",
    ],
)
def test_unsafe_overrides_are_refused(line: str) -> None:
    with pytest.raises(ConfigurationError, match="refused"):
        refuse_unsafe_override(line)


@pytest.mark.parametrize("line", ["privacy.epsilon=2", "hydra.sweep.dir=multirun/${now:%Y}", "name=target", "~x"])
def test_other_overrides_pass(line: str) -> None:
    refuse_unsafe_override(line)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (("algorithm", "fedprox", ""), None),
        (("experiment", None, ""), "experiment cannot be null: leave it out, or choose one of: "),
        (("algorithm", "fedpro", ""), "unknown algorithm 'fedpro': did you mean 'fedprox'? (one of: "),
        (("algorithm", 3, ""), "unknown algorithm '3': one of: "),
        (("privacy", None, ""), "privacy cannot be null: leave it out, or choose one of: "),
        (("experiment", "flamby", "+"), "'+experiment=flamby': write 'experiment=flamby'"),
        (("privacy", None, "~"), "'~privacy': a group cannot be removed; choose privacy=OPTION"),
        (("model", {"kind": "mlp"}, ""), "'model={...}': choose model=OPTION"),
    ],
)
def test_wrong_choice(choice: tuple[str, object, str], expected: str | None) -> None:
    line = wrong_choice(choice[0], choice[1], prefix=choice[2])
    assert line == expected or (expected is not None and line is not None and line.startswith(expected))
    assert line is None or "\n" not in line


def test_a_kind_is_chosen_with_its_settings() -> None:
    line = kind_by_itself("model.kind")
    assert line is not None
    assert "choose 'model=OPTION'" in line
    assert kind_by_itself("schedule.optimiser.kind") is None
    assert kind_by_itself("tracking.kind") is None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("schedule.rounds", None),
        ("schedule.round", "unknown setting 'schedule.round': did you mean 'schedule.rounds'?"),
        ("privacy.epsilon", "unknown setting 'privacy.epsilon' with privacy=none: choose privacy="),
        ("privacy.epsilom", "unknown setting 'privacy.epsilom': did you mean 'privacy.epsilon'?"),
        ("study.options.alpha", "unknown setting 'study.options.alpha' with study=demo: choose study=readmission"),
        ("algoritm", "unknown setting 'algoritm': did you mean 'algorithm'?"),
        ("baselines.pooled.optimiser.kind", "unknown setting 'baselines.pooled.optimiser.kind': 'baselines.pooled.optimiser' is null"),
        ("hydra.lancher.n_jobs", "unknown setting 'hydra.lancher.n_jobs': did you mean 'hydra.launcher.n_jobs'?"),
        ("zzz", "unknown setting 'zzz': one of: baselines, privacy, schedule, study"),
    ],
)  # fmt: skip
def test_unknown_setting(key: str, expected: str | None) -> None:
    line = unknown_setting(key, TREE, CHOICES)
    assert line == expected or (expected is not None and line is not None and line.startswith(expected))
    assert line is None or "\n" not in line


def test_first_line() -> None:
    assert first_line(ValueError("  one\ntwo")) == "one"
    assert first_line(SystemExit()) == "SystemExit"
