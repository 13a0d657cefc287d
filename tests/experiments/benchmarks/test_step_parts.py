"""The parts of a private step are those of the whole, and the table says what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.benchmarks import step_parts
from experiments.benchmarks.benches import Effort
from experiments.benchmarks.page import page_of
from experiments.benchmarks.parts_table import PARTS, figure_name, parts_rows
from experiments.benchmarks.step_parts import part_benches, part_works, shares
from experiments.benchmarks.workload import Workload
from tests.experiments.benchmarks.example_run import figure, run_of

_WORK = Workload(num_sites=1, num_patients=60, num_features=4, batch_size=30, rounds=1, steps=5, private=True)


def test_parts_are_shares_of_the_plain_step_of_the_same_turn_and_add_up() -> None:
    parts = dict.fromkeys(("draw", "forward", "backward", "norms", "sums", "cut", "apply", "round"), (1.0, 2.0))
    taken = {"whole": (20.0, 40.0), "plain": (10.0, 20.0), **parts}
    taken |= {"noise": (6.0, 12.0), "key_stream": (1.0, 2.0), "transform": (2.0, 4.0)}
    found = shares(taken)
    assert list(found) == list(PARTS)
    assert found["whole"] == 2.0
    assert found["draw"] == pytest.approx(0.1)
    assert found["release"] == pytest.approx(0.3)
    assert found["remainder"] == pytest.approx(2.0 - 8 * 0.1 - 0.6)
    assert sum(value for name, value in found.items() if name != "whole") == pytest.approx(2.0)


def test_parts_that_are_slower_than_the_whole_leave_no_remainder() -> None:
    taken = dict.fromkeys((*PARTS, "noise", "plain"), (1.0,))
    found = shares({name: value for name, value in taken.items() if name not in {"release", "remainder"}})
    assert found["remainder"] == 0.0
    assert found["release"] == 0.0


def test_every_part_can_be_done_again_and_again() -> None:
    works = part_works(_WORK)
    for _ in range(2):
        for work in works.values():
            assert work() is None


def test_key_stream_and_normals_are_of_as_many_numbers_as_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = step_parts.write_uniforms
    monkeypatch.setattr(
        step_parts, "write_uniforms", lambda stream, out: (made.append(out.numel()), original(stream, out))
    )
    for steps in (1, 5):
        works = part_works(_WORK.model_copy(update={"steps": steps}))
        made.clear()
        works["key_stream"]()
        size = 4 * 64 + 64 + 64 + 1
        assert size * steps <= sum(made) <= (size + 1) * steps


def test_the_bench_leaves_a_figure_for_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_parts, "step_workload", lambda *_: _WORK)
    benches = part_benches()
    found = benches[0].run(Effort(quick=True))
    assert [item.name for item in found.figures] == [figure_name("mlp", 64, part) for part in PARTS]
    assert all(item.name.startswith(benches[0].name) for item in found.figures)
    assert all(np.isfinite(item.value) for item in found.figures)


def test_the_page_has_a_row_for_each_step_and_nothing_twice() -> None:
    names = [figure_name(model, 64, part) for model in ("mlp", "wide_mlp") for part in PARTS]
    run = run_of(figures=tuple(figure(name, 0.25) for name in names))
    rows = parts_rows(run)
    assert [row[0] for row in rows] == ["step", "`mlp_64`", "`wide_mlp_64`"]
    assert all(len(row) == len(PARTS) + 1 for row in rows)
    page = page_of(run)
    assert page.count("`wide_mlp_64`") == 1
    assert "step_parts_mlp_64_draw" not in page


def test_a_run_without_parts_says_so() -> None:
    assert parts_rows(run_of(figures=(figure("fold", 1.0),))) == []
    assert "Not in this run." in page_of(run_of())
