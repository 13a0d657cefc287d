"""A site's records for exact statistics: written when a study needs them, for the site's own account, and read back as they were."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from federation.errors import RecordsUnreadableError
from site_client.patients import Records
from site_client.records_file import FILE, read_records, write_records
from site_client.study_agents import StudyAgents, prepare_patients
from tests.masked_study import MASKED
from tests.site_client.hospital_site import Site

STATISTICS = {"analyses": [{"kind": "describe", "name": "values", "described": ["x0", "died"]}]}


def some(dates: bool) -> Records:
    return Records(
        site="north",
        patient_keys=np.array(["ä\n1", "b", "ä\n1"]),
        values={"x": np.array([0.1, np.nan, 3.0]), "y-1": np.array([1.0, 0.0, 1.0])},
        index_dates=np.array(["2020-01-01", "NaT", "2021-02-03"], dtype="datetime64[D]") if dates else None,
    )


@pytest.mark.parametrize("dates", [True, False])
def test_records_come_back_as_they_were(tmp_path: Path, dates: bool) -> None:
    written = some(dates)
    write_records(tmp_path / FILE, written)
    found = read_records(tmp_path / FILE)
    assert found.site == "north"
    assert found.patient_keys.tolist() == written.patient_keys.tolist()
    assert list(found.values) == list(written.values)
    for name, column in written.values.items():
        np.testing.assert_array_equal(found.values[name], column)
    if dates:
        np.testing.assert_array_equal(found.index_dates, written.index_dates)
    else:
        assert found.index_dates is None
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 64, b"{}" * 40])
def test_another_file_is_said(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RecordsUnreadableError, match="site's records"):
        read_records(tmp_path / FILE)


def masked(site: Site, **changes: object):
    spec = {"mode": "masked", "quorum": 3, "masked": MASKED | {"threshold": 3}}
    return site.proposal(aggregation=spec, evaluation={"release": "none"}, **changes).proposal


def test_a_study_with_statistics_finds_the_records_and_any_other_leaves_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for changes, wanted in (({"statistics": STATISTICS}, True), ({}, False)):
        proposal = masked(site, study="with" if wanted else "without", **changes)
        path = prepare_patients(site.layout, proposal.manifest, site="north", now=site.now)
        kept = path.with_name(FILE)
        assert kept.is_file() == wanted
        if wanted:
            assert len(read_records(kept)) == 60
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600
            agents = StudyAgents(site.layout, "north", clock=site.clock)
            agents.handle(proposal, b"no message")
            assert agents.warm == (proposal.manifest.digest,)
