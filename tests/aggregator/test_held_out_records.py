"""Reference records at the aggregator: read in the contract's terms only, kept once, and the loss is what a gate needs."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import run_study
from aggregator.held_out_records import FEWEST_RECORDS, held_out_loss, keep_held_out, kept_loss, read_held_out
from aggregator.tracking import NullTracker
from federation.errors import InvalidInputError
from federation.protocol.messages import TrainRequest
from tests.masked_study import MASKED, Lossy, agents, masked_manifest
from tests.small_study import contract, manifest

GATE = {"mode": "masked", "quorum": 3, "masked": MASKED | {"held_out_bound": 0.05}}
WEIGHTS = np.array([2.0, -3.0, 0.5, 0.0])


def table(records: int = 60) -> tuple[bytes, np.ndarray, np.ndarray]:
    """A CSV of the small contract from its true model, with a column that nobody asked for."""
    generator = np.random.default_rng(3)
    features = np.round(generator.uniform(-1, 1, size=(records, 4)), 3)
    outcomes = (generator.uniform(size=records) < 1 / (1 + np.exp(-features @ WEIGHTS))).astype(int)
    rows = ["note,died,x3,x2,x1,x0"]
    rows += [
        f"n,{outcome},{row[3]},{row[2]},{row[1]},{row[0]}" for row, outcome in zip(features, outcomes, strict=True)
    ]
    return "\n".join(rows).encode(), features, outcomes


def test_the_loss_is_scikit_learns_log_loss() -> None:
    content, features, outcomes = table()
    study = manifest()
    loss = held_out_loss(read_held_out(content, study), study)
    parameters = np.array([1.5, -1.0, 0.25, 0.0, 0.1], dtype=np.float32)  # the weights, then the intercept
    risk = 1 / (1 + np.exp(-(features @ parameters[:4] + parameters[4])))
    assert loss(parameters, None) == pytest.approx(log_loss(outcomes, risk), rel=1e-5)
    assert loss(-parameters, None) > loss(parameters, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("x0", "y0"), "x0"),
        (lambda text: text.replace("note", "x0"), "x0"),
        (lambda text: text + "\nn,1,0,0,0,1.5", "x0"),
        (lambda text: text + "\nn,2,0,0,0,0", "died"),
        (lambda text: text + "\nn,yes,0,0,0,0", "died"),
        (lambda text: text + "\nn,1,0,0,nan,0", "x1"),
        (lambda text: text + "\nn,1,0,0,,0", "no missing value of x1"),
        (lambda text: text + "\nn,1,0,0,0", "fields in every row"),
        (lambda text: "\n".join(text.split("\n")[:FEWEST_RECORDS]), "at least"),
        (lambda _: "", "columns"),
        (lambda text: text + '\n"n,1,0,0,0,0', "CSV file"),
    ],
)
def test_what_is_not_the_contracts_is_refused_and_no_value_is_shown(change, words: str) -> None:
    text = change(table()[0].decode())
    with pytest.raises(InvalidInputError, match=words) as refused:
        read_held_out(text.encode(), manifest())
    assert "1.5" not in str(refused.value)
    assert "yes" not in str(refused.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="UTF-8"):
        read_held_out(b"\xff\xfe\x00", manifest())


def test_levels_are_named_and_what_the_contract_imputes_may_be_missing() -> None:
    terms = contract()
    terms["variables"] = [
        {"name": "ward", "kind": "categorical", "levels": ["a", "b", "c"]},
        {"name": "x", "kind": "continuous", "unit": "dimensionless", "minimum": 0, "maximum": 10,
         "missing": {"rule": "impute", "value": 5.0}},
    ]  # fmt: skip
    study = manifest(contract=terms)
    found = read_held_out(("ward,x,died\n" + "a,0,0\nb,,1\nc,10,1\n" * 10).encode(), study)
    assert found.features[:3].tolist() == [[0, 0, -1], [1, 0, 0], [0, 1, 1]]
    assert found.outcomes[:3].tolist() == [0, 1, 1]
    with pytest.raises(InvalidInputError, match="ward"):
        read_held_out(("ward,x,died\n" + "d,0,0\n" * 30).encode(), study)


def test_images_are_refused() -> None:
    scan = {"name": "scan", "kind": "image", "height": 8, "width": 8, "channels": 1}
    scan |= {"minimum": 0.0, "maximum": 1.0, "unit": "dimensionless", "modality": "generated"}
    terms = contract() | {"variables": [scan]}
    model = {"kind": "cnn", "image_shape": [1, 8, 8], "channels": [4]}
    with pytest.raises(InvalidInputError, match="images"):
        read_held_out(b"scan,died\n", manifest(contract=terms, model=model))


def test_records_are_asked_for_kept_once_and_refused_where_nothing_looks_at_them(tmp_path: Path) -> None:
    place, given = tmp_path / "study/held_out.csv", tmp_path / "reference.csv"
    given.write_bytes(table()[0])
    gated = masked_manifest(tmp_path, aggregation=GATE)
    with pytest.raises(InvalidInputError, match="reference records"):
        keep_held_out(place, gated, None)
    with pytest.raises(InvalidInputError, match="without"):
        keep_held_out(place, masked_manifest(tmp_path), given)
    assert kept_loss(place, gated) is None
    keep_held_out(place, gated, given)
    given.write_bytes(b"something else")
    with pytest.raises(InvalidInputError):
        keep_held_out(place, gated, given)
    keep_held_out(place, gated, None)
    assert place.read_bytes() == table()[0]
    keep_held_out(tmp_path / "other", masked_manifest(tmp_path), None)
    assert not (tmp_path / "other").exists()


def test_kept_records_gate_every_round_of_a_study(tmp_path: Path) -> None:
    """The loss on the records is asked after every round; where it is bad, here by decree in round 2, the round is rolled back."""
    study = masked_manifest(tmp_path, aggregation=GATE)
    place = tmp_path / "held_out.csv"
    place.write_bytes(table()[0])
    loss = kept_loss(place, study)
    assert loss is not None
    seen: list[float] = []

    def bad_once(parameters, prepared):
        seen.append(loss(parameters, prepared))
        return 10.0 if len(seen) == 3 else seen[-1]  # after the initial model's and round 1's

    transport = Lossy(agents(tmp_path, study))
    result = run_study(
        study,
        transport,
        NullTracker(),
        checkpoints=CheckpointStore(tmp_path / "coordinator", study=study.digest),
        clock=itertools.count().__next__,
        on_round=lambda _: None,
        held_out=bad_once,
    )
    assert [bool(entry.rolled_back) for entry in result.rounds] == [False, True, False, False]
    assert seen[-1] < seen[0]
    assert {
        header.round_number for _, request, _ in transport.seen if isinstance(header := request.header, TrainRequest)
    } == {1, 2, 3, 4}
