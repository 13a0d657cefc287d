"""Association studies of a launched study: agreed in its manifest, asked over its messages, equal to the pooled analysis."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from aggregator.statistics.figures import analysis_files
from experiments.genotypes.studies import GenotypeStudy
from federation.errors import CheckpointError, InvalidInputError
from federation.protocol.messages import PAYLOAD, Envelope, StatisticsReply, StatisticsRequest
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from tests.genotype_bench import columns, load, pooled
from tests.genotype_bench import run as simulate
from tests.genotype_study import ASKED, genotype_agents, genotype_manifest, give_list, small_genotypes
from tests.masked_study import Lossy, run

Taken = tuple[GenotypeStudy, StudyManifest, StudyResult, Lossy, Path]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    """A study with every test, at four sites that name their alleles differently."""
    folder = tmp_path_factory.mktemp("genotypes")
    genotypes = small_genotypes(folder)
    study = genotype_manifest(folder, genotypes, *ASKED)
    give_list(folder, genotypes, study)
    transport = Lossy(genotype_agents(folder, genotypes, study))
    return genotypes, study, run(study, folder, transport), transport, folder


@pytest.mark.parametrize("name", ASKED)
def test_a_launched_study_says_what_the_simulation_says_to_the_last_bit(
    taken: Taken, tmp_path: Path, name: str
) -> None:
    genotypes, study, result, _, _ = taken
    found = next(analysis for analysis in result.analyses if analysis.name == name)
    assert found.result is not None, found.reason
    assert found.result.sites == tuple(entry.site for entry in study.roster)
    simulated = simulate(tmp_path, genotypes, *ASKED[name])
    assert found.result.tables == simulated.tables
    assert found.result.figures == simulated.figures


def test_every_variant_has_the_regression_of_all_patients_in_one_table(taken: Taken) -> None:
    genotypes, _, result, _, _ = taken
    table = columns(result.analyses[list(ASKED).index("trait")].result)
    whole, names = pooled(genotypes), genotypes.listed.names.tolist()
    loadings = result.analyses[list(ASKED).index("trait")].result.table("loadings")
    chosen = [names.index(name) for name in loadings.column("variant")]
    centre, scale = (np.array(loadings.numbers(part)) for part in ("centre", "scale"))
    weights = np.array([loadings.numbers(f"component {number}") for number in (1, 2)]).T
    scores = np.nan_to_num((whole.copies[:, chosen] - centre) / scale) @ weights
    beside = np.column_stack([np.ones(len(scores)), whole.values["age"], whole.values["male"], scores])
    assert len(table["variant"]) > 60
    for place in range(0, len(table["variant"]), 7):
        copies = whole.copies[:, names.index(table["variant"][place])]
        known = np.isfinite(copies)
        fitted = sm.OLS(whole.values["trait"][known], np.column_stack([beside, copies])[known]).fit()
        assert table["beta"][place] == pytest.approx(fitted.params[-1], rel=1e-6)
        assert table["standard error"][place] == pytest.approx(fitted.bse[-1], rel=1e-6)
        assert table["p"][place] == pytest.approx(fitted.pvalues[-1], rel=1e-5)


def test_only_masked_words_leave_a_site(taken: Taken) -> None:
    *_, transport, _ = taken
    replies = [reply for _, _, reply in transport.seen if isinstance(reply.header, StatisticsReply)]
    assert {tuple(reply.arrays) for reply in replies} == {(PAYLOAD,)}
    words = [reply.payload()[:16] for reply in replies]
    assert len(set(words)) == len(words) > 4 * len(ASKED)


def test_tables_and_figures_are_files_of_the_study(taken: Taken) -> None:
    *_, result, _, _ = taken
    files = analysis_files(result.analyses[list(ASKED).index("trait")])
    figures = {f"trait-{name}.{kind}" for name in ("manhattan", "qq") for kind in ("svg", "png")}
    assert files.keys() == {"trait.json", "trait-association.tsv", "trait-weights.tsv"} | figures
    rows = list(csv.DictReader(io.StringIO(files["trait-association.tsv"].decode()), delimiter="\t"))
    assert len(rows) == result.analyses[list(ASKED).index("trait")].result.figures["variants tested"]


def test_a_study_without_its_list_stops_and_goes_on_once_it_is_there(tmp_path: Path) -> None:
    genotypes = small_genotypes(tmp_path)
    study = genotype_manifest(tmp_path, genotypes, "alleles")
    sites = genotype_agents(tmp_path, genotypes, study)
    with pytest.raises(CheckpointError, match="list of variants"):
        run(study, tmp_path, Lossy(sites))
    give_list(tmp_path, genotypes, study)
    assert run(study, tmp_path, Lossy(sites)).analyses[0].result is not None


def test_another_list_is_not_kept(tmp_path: Path) -> None:
    genotypes = small_genotypes(tmp_path)
    study = genotype_manifest(tmp_path, genotypes, "alleles")
    with pytest.raises(InvalidInputError, match="list"):
        give_list(tmp_path, small_genotypes(tmp_path / "other", "study.options.seed=1"), study)


def test_a_site_with_another_list_refuses_and_the_study_says_so(tmp_path: Path) -> None:
    genotypes = small_genotypes(tmp_path)
    study = genotype_manifest(tmp_path, genotypes, "alleles")
    give_list(tmp_path, genotypes, study)
    sites = genotype_agents(tmp_path, genotypes, study)
    other = small_genotypes(tmp_path / "other", "study.options.seed=1").listed
    (tmp_path / "list.bim").write_bytes(other.to_bim())
    result = run(study, tmp_path, Lossy(sites))
    assert result.analyses[0].result is None
    assert "hospital-001: RecordsUnreadableError" in result.analyses[0].reason


def test_a_site_that_vanishes_half_way_is_left_out_where_that_was_agreed(tmp_path: Path) -> None:
    genotypes = small_genotypes(tmp_path)
    study = genotype_manifest(tmp_path, genotypes, "filled", spec={"drop_outs": "leave_out"})
    give_list(tmp_path, genotypes, study)

    def loses(site: str, request: Envelope) -> bool:
        return site == "hospital-004" and isinstance(request.header, StatisticsRequest) and request.header.number >= 5

    found = run(study, tmp_path, Lossy(genotype_agents(tmp_path, genotypes, study), loses=loses)).analyses[0].result
    assert found.left_out == {"hospital-004": "deadline"}
    alignment = dict(
        zip(found.table("alignment").column("site"), found.table("alignment").numbers("same"), strict=True)
    )
    assert alignment["hospital-004"] == 0
    assert alignment["hospital-001"] > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not (Path(os.environ.get("COHORTIUM_DATA", "/none")) / "genotypes").is_dir(),
    reason="COHORTIUM_DATA has no genotypes",
)
def test_eleven_populations_are_scanned_in_a_launched_study_as_in_simulation(tmp_path: Path) -> None:
    genotypes = load(tmp_path, "study=gwas_hapmap3", data=Path(os.environ["COHORTIUM_DATA"]))
    study = genotype_manifest(tmp_path, genotypes, "trait")
    give_list(tmp_path, genotypes, study)
    transport = Lossy(genotype_agents(tmp_path, genotypes, study))
    found = run(study, tmp_path, transport).analyses[0]
    assert found.result is not None, found.reason
    assert found.result.tables == simulate(tmp_path, genotypes, *ASKED["trait"]).tables
    assert len(found.result.table("association").rows) > 10_000
    largest = max(len(request.to_bytes()) for _, request, _ in transport.seen)
    assert largest < 2**23, "what the gate takes at once"
