"""Exact statistics of a launched study: agreed in its manifest, asked over its messages, equal to the pooled analysis."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aggregator.statistics.analysing import analysis_of
from aggregator.statistics.figures import analysis_files
from federation.errors import QuorumError
from federation.protocol.messages import PAYLOAD, Envelope, StatisticsReply, StatisticsRequest
from federation.statistics.result import AnalysisResult
from federation.statistics.step import Columns
from federation.study.manifest import StudyManifest
from tests.masked_study import Lossy, run
from tests.statistics_bench import CONTRACT
from tests.statistics_study import ANALYSES, PATIENTS, SITES, agents, statistics_manifest, values


def pooled(study: StudyManifest, name: str, chosen: np.ndarray | None = None) -> list[tuple]:
    """The same analysis on one table of all patients."""
    agreed = next(each for each in study.statistics.analyses if each.name == name)
    picked = np.ones(PATIENTS, dtype=bool) if chosen is None else chosen
    columns = Columns(values={key: value[picked] for key, value in values().items()}, records=int(picked.sum()))
    solver = analysis_of(agreed, CONTRACT, threshold=study.statistics.threshold).solver(columns.records)
    try:
        step = next(solver)
        while True:
            step = solver.send(step.parts(step.answer(columns)))
    except StopIteration as end:
        return end.value.tables


def assert_same(found: AnalysisResult, expected: tuple) -> None:
    assert [table.name for table in found.tables] == [table.name for table in expected]
    for mine, theirs in zip(found.tables, expected, strict=True):
        assert len(mine.rows) == len(theirs.rows)
        for row, other in zip(mine.rows, theirs.rows, strict=True):
            for cell, wanted in zip(row, other, strict=True):
                assert cell == (pytest.approx(wanted, rel=1e-6, abs=1e-9) if isinstance(wanted, float) else wanted)


def test_every_kind_of_analysis_equals_the_pooled_one(tmp_path: Path) -> None:
    study = statistics_manifest(tmp_path, *ANALYSES)
    result = run(study, tmp_path, Lossy(agents(tmp_path, study)))
    assert [analysis.name for analysis in result.analyses] == list(ANALYSES)
    for analysis in result.analyses:
        assert analysis.result is not None, analysis.reason
        assert analysis.result.sites == SITES
        assert analysis.result.patients == PATIENTS
        if analysis.name not in {"within", "ranks", "odds", "mean_effect"}:  # these are stratified by site
            assert_same(analysis.result, pooled(study, analysis.name))


def test_only_masked_words_leave_a_site_and_each_step_has_a_number_of_its_own(tmp_path: Path) -> None:
    study = statistics_manifest(tmp_path, "wards", "deaths")
    transport = Lossy(agents(tmp_path, study))
    run(study, tmp_path, transport)
    answered = [(site, reply) for site, _, reply in transport.seen if isinstance(reply.header, StatisticsReply)]
    assert {tuple(reply.arrays) for _, reply in answered} == {(PAYLOAD,)}
    numbers = [reply.header.number for site, reply in answered if site == "north"]
    assert numbers == list(range(1, len(numbers) + 1))
    words = [reply.payload()[:16] for _, reply in answered]
    assert len(set(words)) == len(words)


def test_a_site_that_vanishes_is_left_out_and_the_result_is_that_of_the_others(tmp_path: Path) -> None:
    study = statistics_manifest(tmp_path, "deaths", spec={"drop_outs": "leave_out"})

    def loses(site: str, request: Envelope) -> bool:
        return site == "west" and isinstance(request.header, StatisticsRequest) and request.header.number >= 3

    result = run(study, tmp_path, Lossy(agents(tmp_path, study), loses=loses))
    found = result.analyses[0].result
    assert found.sites == ("east", "north", "south")
    assert found.left_out == {"west": "deadline"}
    from tests.statistics_bench import deal

    others = deal(PATIENTS, len(SITES)) != SITES.index("west")
    assert_same(found, pooled(study, "deaths", others))


def test_finished_analyses_survive_a_restart_and_no_number_is_used_twice(tmp_path: Path) -> None:
    study = statistics_manifest(tmp_path, "wards", "deaths")
    sites = agents(tmp_path, study)

    def dies(_: str, request: Envelope) -> bool:
        return isinstance(request.header, StatisticsRequest) and request.header.number >= 4

    first = Lossy(sites, loses=dies)
    with pytest.raises(QuorumError):
        run(study, tmp_path, first)
    second = Lossy(sites)
    result = run(study, tmp_path, second)
    assert all(analysis.result is not None for analysis in result.analyses)
    asked = [request.header.number for site, request, _ in second.seen if isinstance(request.header, StatisticsRequest)]
    assert min(asked) == 5, "4 was begun before; the first analysis was finished"
    third = Lossy(sites)
    assert run(study, tmp_path, third).analyses == result.analyses
    assert not third.seen


def test_an_analysis_without_a_result_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    study = statistics_manifest(tmp_path, "deaths", "wards", spec={"threshold": 150})
    result = run(study, tmp_path, Lossy(agents(tmp_path, study)))
    deaths, wards = result.analyses
    assert deaths.result is None
    assert deaths.error == "PrivacyRefusedError"
    assert wards.result is not None
    files = analysis_files(deaths)
    assert json.loads(files["deaths.json"])["reason"] == deaths.reason


def test_a_study_has_only_the_sums_that_it_agreed_on(tmp_path: Path) -> None:
    study = statistics_manifest(tmp_path, "deaths", spec={"most_sums": 2})
    result = run(study, tmp_path, Lossy(agents(tmp_path, study)))
    assert result.analyses[0].result is None
    assert "at most the 2 sums" in result.analyses[0].reason


def test_figures_are_written_beside_the_tables(tmp_path: Path) -> None:
    study = statistics_manifest(tmp_path, "curves")
    result = run(study, tmp_path, Lossy(agents(tmp_path, study)))
    assert sorted(analysis_files(result.analyses[0])) == ["curves.json", "curves.png", "curves.svg"]


def test_a_site_that_vanishes_is_waited_for_and_no_sum_is_opened_without_it(tmp_path: Path) -> None:
    """The difference of two sums over sites that differ by one would be that one's own numbers."""
    study = statistics_manifest(tmp_path, "deaths", "wards")
    sites = agents(tmp_path, study)

    def loses(site: str, request: Envelope) -> bool:
        return site == "west" and isinstance(request.header, StatisticsRequest) and request.header.number >= 3

    with pytest.raises(QuorumError, match="nothing was opened"):
        run(study, tmp_path, Lossy(sites, loses=loses))
    opened = {path.name for path in (tmp_path / "coordinator" / "secure").glob("statistics-*.asked")}
    assert {name.split("-")[1] for name in opened} == {"000001", "000002"}
    result = run(study, tmp_path, Lossy(sites))
    assert all(analysis.result.sites == SITES for analysis in result.analyses)
    assert_same(result.analyses[0].result, pooled(study, "deaths"))


def test_a_site_that_is_not_there_at_the_beginning_is_in_no_sum(tmp_path: Path) -> None:
    study = statistics_manifest(tmp_path, "wards", "deaths")

    def loses(site: str, request: Envelope) -> bool:
        return site == "west" and isinstance(request.header, StatisticsRequest) and request.header.number == 1

    result = run(study, tmp_path, Lossy(agents(tmp_path, study), loses=loses))
    assert [analysis.result.sites for analysis in result.analyses] == [("east", "north", "south")] * 2
    assert result.analyses[1].result.left_out == {"west": "not_in_the_first_sum"}
