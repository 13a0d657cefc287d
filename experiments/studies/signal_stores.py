"""Sites of studies of signals: recordings are imported as a hospital would, once, and then read from the store."""

from __future__ import annotations

from pathlib import Path

from experiments.studies.definition import StudySite
from federation.data.contract import DataContract
from federation.errors import RecordsUnreadableError
from site_client.arrays.store import STORE_FILE
from site_client.signals.importing import REPORT_FILE, ImportJob, SignalImport, import_signals
from site_client.signals.plan import SignalPlan, read_signal_mapping
from site_client.sources.mapping import read_mapping
from site_client.sources.tables import TableSource


def imported_source(
    site: str, *, folder: Path, plan: SignalPlan, contract: DataContract, mapping: Path, generated: bool
) -> StudySite:
    """Import a site's recordings, unless that was done before, and read the store.

    Args:
        site: Its name.
        folder: With ``signals.yaml`` and what it names; the store becomes ``store`` beside it.
        plan: Of the study.
        contract: Of the study.
        mapping: How the store's table becomes records, for a site of any name.
        generated: Whether the recordings belong to nobody.

    Raises:
        RecordsError: If recordings cannot be used.
    """
    store = folder / "store"
    if (store / STORE_FILE).is_file():
        found = SignalImport.from_json((store / REPORT_FILE).read_bytes(), error=RecordsUnreadableError)
    else:
        found = import_signals(
            ImportJob(
                plan=plan,
                mapping=read_signal_mapping(folder / "signals.yaml"),
                contract=contract,
                folder=folder,
                store=store,
                made_by="cohortium simulate",
                generated=generated,
            )
        )
    source = store_source(site, folder=folder, mapping=mapping)
    return StudySite(site=site, source=source, public_patients=found.patients)


def store_source(site: str, *, folder: Path, mapping: Path) -> TableSource:
    """A site's store as a source of records. Arguments as in :func:`imported_source`.

    Raises:
        MappingError: If the mapping cannot be read.
    """
    return TableSource(read_mapping(mapping).model_copy(update={"site": site}), folder=folder)
