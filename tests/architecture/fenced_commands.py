"""Which test types the fenced commands of which page, and which commands no test types, and why.

A fenced command of docs/*.md that is in neither table fails ``test_fenced_commands.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.guide_pages import Block, blocks

TYPED_BY = {
    "docs/approval.md": "tests/e2e/test_approval_guide.py::test_the_guide_leads_from_a_contract_to_a_dossier_and_on",
    "docs/audit_log.md": "tests/e2e/test_guides.py::test_the_pages_on_logs_are_typed_at_the_same_machines",
    "docs/batched_engine.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/consortium.md": "tests/e2e/test_guides.py::test_the_two_guides_lead_from_empty_folders_to_a_released_model",
    "docs/data-scientist.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/distributed_privacy.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/enrolment.md": "tests/site_client/test_enrolment_guide.py::test_every_command_of_the_guide_works_in_its_order",
    "docs/flower_engine.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/images.md": "tests/e2e/test_page_commands.py::test_the_commands_of_a_page_work_in_its_order",
    "docs/genotypes.md": "tests/experiments/genotypes/test_gwas_guide.py::test_the_commands_of_the_guide_work_in_their_order",
    "docs/ledger.md": "tests/e2e/test_page_commands.py::test_the_commands_of_a_page_work_in_its_order",
    "docs/paid_evaluation.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/ray_engine.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/release.md": "tests/e2e/test_page_commands.py::test_the_commands_of_a_page_work_in_its_order",
    "docs/robustness.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/secure_aggregation.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/site-it.md": "tests/e2e/test_guides.py::test_the_two_guides_lead_from_empty_folders_to_a_released_model",
    "docs/statistics.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/survival_learning.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
    "docs/wire.md": "tests/e2e/test_page_commands.py::test_a_simulation_of_a_page_runs",
}
"""Page to the test that types every command of it, apart from those below."""


@dataclass(frozen=True)
class NotTyped:
    """Commands of a page that no test types as they stand.

    Args:
        begins: Beginning of the commands; empty: all of the page.
        reason: Why not.
        instead: Test that runs the same code another way.
    """

    begins: str
    reason: str
    instead: str


_GUIDES = "tests/e2e/test_guides.py::test_the_two_guides_lead_from_empty_folders_to_a_released_model"
_RELEASES = "tests/aggregator/release/test_release_commands.py"
_LAUNCHES = "tests/aggregator/host/test_launching.py::test_an_association_study_is_launched_with_its_list_of_variants"
_CLUSTER = (
    "tests/e2e/test_ray_cluster.py::test_two_studies_on_a_cluster_have_the_models_of_inline_bit_for_bit_and_it_goes_on"
)
_BENCHES = "tests/experiments/benchmarks"
_SLOW = "takes many minutes, and prints figures that depend on the machine or are in the page"
NOT_TYPED: dict[str, tuple[NotTyped, ...]] = {
    "docs/aggregator_host.md": (
        NotTyped(
            "",
            "one of everything, not a sequence",
            "tests/aggregator/host/test_host_commands.py::test_the_leads_commands_go_from_launch_to_close",
        ),
    ),
    "docs/batched_engine.md": (
        NotTyped(
            "python -m experiments.benchmarks",
            _SLOW,
            f"{_BENCHES}/test_comparisons.py::test_every_goal_belongs_to_a_bench",
        ),
    ),
    "docs/containers.md": (
        NotTyped(
            "",
            "needs a registry and a container engine; `make container-test` builds and runs the same files",
            "tests/deploy/test_container_guide.py::test_a_command_of_the_guide_exists_with_its_options",
        ),
    ),
    "docs/data-scientist.md": (
        NotTyped(
            "make setup",
            "installs packages",
            "tests/architecture/test_site_installation.py::test_the_commands_of_a_site_start",
        ),
        NotTyped("source .venv/bin/activate", "changes a shell", _GUIDES),
    ),
    "docs/genotypes.md": (
        NotTyped(
            "python -m experiments.benchmarks.gwas",
            _SLOW,
            "tests/experiments/genotypes/test_streaming.py::test_the_bench_compares_like_with_like",
        ),
        NotTyped("cohortium study launch", "needs an aggregator's host", _LAUNCHES),
        NotTyped(
            "cohortium study",
            "needs a manifest of the reader's own",
            "tests/experiments/test_launched_guides.py::test_the_guide_on_genotypes_leads_to_a_rehearsed_association_study",
        ),
    ),
    "docs/networks.md": (
        NotTyped(
            "python -m experiments.rehearsal --namespaces",
            "a test of its own does it",
            "tests/e2e/test_site_networks.py::test_a_study_between_walled_sites_survives_a_death_and_a_cut",
        ),
        NotTyped(
            "python -m experiments.rehearsal.random_kills",
            "takes an hour; a test kills less often",
            "tests/e2e/test_random_kills.py::test_a_study_ends_as_undisturbed_whatever_is_killed",
        ),
    ),
    "docs/operations.md": (
        NotTyped(
            "cohortium study",
            "needs a manifest of the reader's own",
            "tests/experiments/test_launched_guides.py::test_the_guide_on_operations_leads_to_rehearsed_reports",
        ),
        NotTyped(
            "",
            "reads hospital files that are not everywhere, and takes minutes",
            "tests/experiments/operations/test_reports.py::test_secure_sums_over_hospitals_give_the_calibration_by_region",
        ),
    ),
    "docs/performance.md": (
        NotTyped(
            "python -m experiments.benchmarks.compare",
            "needs two runs",
            f"{_BENCHES}/test_compare.py::test_the_command_fails_on_a_regression_and_on_nothing_else",
        ),
        NotTyped(
            "python -m experiments.benchmarks.merge",
            "needs two runs",
            f"{_BENCHES}/test_merge.py::test_the_command_writes_what_can_be_read_again",
        ),
        NotTyped(
            "python -m experiments.benchmarks.page",
            "needs a run",
            f"{_BENCHES}/test_page.py::test_the_command_writes_page_and_run_together",
        ),
        NotTyped("", _SLOW, f"{_BENCHES}/test_comparisons.py::test_every_goal_belongs_to_a_bench"),
    ),
    "docs/privacy_plan.md": (
        NotTyped("", _SLOW, "tests/experiments/privacy_plan/test_plan_commands.py::test_a_curve_with_files"),
    ),
    "docs/ray_engine.md": (
        NotTyped("export RAY_AUTH_MODE", "changes a shell", _CLUSTER),
        NotTyped("ray st", "the ports are fixed, and `ray stop` ends every Ray of the machine", _CLUSTER),
        NotTyped("cohortium simulate study=demo privacy=none engine=ray", "needs that cluster", _CLUSTER),
    ),
    "docs/release.md": (
        NotTyped(
            "cohortium study register-release",
            "needs an MLflow server at that address",
            f"{_RELEASES}::test_a_release_is_registered_once",
        ),
        NotTyped(
            "cohortium study accept-release",
            "needs the key of a site that took part",
            f"{_RELEASES}::test_a_site_accepts_and_the_proposal_says_whose_keys_count",
        ),
        NotTyped("cohortium site score", "needs a hospital's records", _GUIDES),
    ),
    "docs/robustness.md": (
        NotTyped(
            "python -m experiments.attacks",
            _SLOW,
            "tests/experiments/test_attacks.py::test_the_table_shows_every_bout_and_the_worst",
        ),
    ),
    "docs/secure_aggregation.md": (
        NotTyped(
            "python -m experiments.benchmarks",
            _SLOW,
            "tests/experiments/benchmarks/test_comparisons.py::test_benches_are_chosen_by_name_and_pattern",
        ),
    ),
    "docs/signals.md": (
        NotTyped(
            "cohortium site signals import",
            "needs a hospital's recordings",
            "tests/site_client/signals/test_commands.py::test_the_attrition_table",
        ),
        NotTyped(
            "cohortium simulate study=early_warning",
            _SLOW,
            "tests/experiments/studies/test_early_warning.py::test_the_command_writes_figures",
        ),
        NotTyped(
            "python -m experiments.alarms",
            "needs the simulation before it",
            "tests/experiments/studies/test_early_warning.py::test_the_command_writes_figures",
        ),
        NotTyped(
            "cohortium simulate study=ecg_beats",
            _SLOW,
            "tests/experiments/studies/test_ecg_beats.py::test_a_private_masked_run",
        ),
    ),
    "docs/site_processes.md": (NotTyped("", "one of everything, not a sequence", _GUIDES),),
    "docs/statistics.md": (
        NotTyped(
            "make test",
            "would run itself",
            "tests/experiments/test_analyse_commands.py::test_a_survival_curve_is_a_figure",
        ),
        NotTyped(
            "cohortium study",
            "needs a manifest of the reader's own",
            "tests/experiments/test_agree_commands.py::test_a_rehearsal_takes_the_statistics_too",
        ),
    ),
    "docs/testing_privacy.md": (
        NotTyped("python -m tests.mutants", _SLOW, "tests/mutants/test_catalogue.py::test_fault_can_be_planted"),
    ),
}
"""Page to what no test types as it stands."""


def exception(page: str, command: str) -> NotTyped | None:
    """Why no test types a command, or ``None`` if one does."""
    return next((entry for entry in NOT_TYPED.get(page, ()) if command.startswith(entry.begins)), None)


def typed(page: Path) -> Iterator[tuple[Block, str]]:
    """The commands of a page that its test has to type, in its order."""
    for block in blocks(page):
        for command in block.commands:
            if exception(block.page, command) is None:
                yield block, command
