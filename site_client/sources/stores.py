"""Records whose arrays are in a store: row numbers become references, and every bad one is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from federation.data.arrays import ArrayVariable, Mask
from federation.data.contract import DataContract
from federation.errors import MappingError, RecordsUnreadableError
from site_client.arrays.store import IMPLAUSIBLE, RECORDS_FILE, UNREADABLE, StoredFile, read_store, stored_array
from site_client.arrays.stored import StoredArray
from site_client.patients import FloatArray
from site_client.sources.mapping import CsvSource, SiteMapping, StoreSource
from site_client.sources.source import Survey


def store_table(source: StoreSource, folder: Path, *, site: str) -> CsvSource:
    """The store's table as a source of its own.

    Raises:
        RecordsUnreadableError: If there is no store, or its table was changed.
    """
    read_store(folder / source.path, site=site)
    return CsvSource(kind="csv", path=str(Path(source.path) / RECORDS_FILE), null_values=source.null_values)


def attach_arrays(found: Survey, mapping: SiteMapping, contract: DataContract, *, folder: Path) -> Survey:
    """The survey with references to the stored arrays; records without a usable array have NaN for it.

    Args:
        found: As gathered from the store's table; an array's values are row numbers.
        mapping: Of the site.
        contract: Supplies shapes and units.
        folder: That the mapping's paths are relative to.

    Raises:
        MappingError: The source holds no arrays, or none of that name.
        RecordsUnreadableError: Shape or unit differ from the contract's, a file was changed, or a row is not there.
    """
    if not contract.arrays:
        return found
    if not isinstance(mapping.source, StoreSource):
        names = [variable.name for variable in contract.arrays]
        raise MappingError(
            f"expected a source of kind 'store' for the arrays {names}, got {mapping.source.kind!r}",
            site=mapping.site,
            remedy="import the images or signals, and name the folder: `source: {kind: store, path: ...}`",
        )
    place = folder / mapping.source.path
    store = read_store(place, site=mapping.site)
    values, arrays = dict(found.records.values), {}
    unreadable, implausible = dict(found.unreadable_values), {}
    notices = list(found.notices)
    for variable in contract.arrays:
        column = mapping.variables[variable.name].column
        entry = store.array(column)
        if entry is None:
            raise MappingError(
                f"expected an array {column!r} in the store, got {[each.name for each in store.arrays]}",
                site=mapping.site,
                variable=variable.name,
                remedy="correct `column` of it in the mapping, or import it",
            )
        _check_fit(entry, variable, site=mapping.site)
        arrays[variable.name] = stored_array(place, entry).checked(site=mapping.site)
        cells = values[variable.name]
        unreadable[variable.name] = unreadable.get(variable.name, 0) + int((cells == UNREADABLE).sum())
        implausible[variable.name] = int((cells == IMPLAUSIBLE).sum())
        values[variable.name] = _rows(cells, arrays[variable.name], mapping.site, variable.name)
        notices += [f"{variable.name}: {count} not imported: {why}" for why, count in entry.not_used.items()]
    return replace(
        found,
        records=replace(found.records, values=values, arrays=arrays),
        unreadable_values=unreadable,
        implausible_values=implausible,
        notices=tuple(notices),
    )


def _check_fit(entry: StoredFile, variable: ArrayVariable, *, site: str) -> None:
    shape, unit, column = variable.shape, None if isinstance(variable, Mask) else variable.unit, entry.name
    if entry.shape != shape or (unit is not None and entry.unit != unit):
        wanted, got = " x ".join(map(str, shape)), " x ".join(map(str, entry.shape))
        raise RecordsUnreadableError(
            f"expected arrays of {wanted} in {unit or entry.unit} as {column}, got {got} in {entry.unit}",
            site=site,
            variable=column,
            remedy="import the images or signals again with this study's contract",
        )


def _rows(cells: FloatArray, stored: StoredArray, site: str, name: str) -> FloatArray:
    known = cells[cells >= 0]
    if len(known) and (known.max() >= stored.rows or bool(np.any(known != np.rint(known)))):
        raise RecordsUnreadableError(
            f"expected row numbers below {stored.rows} in {RECORDS_FILE}, got others",
            site=site,
            variable=name,
            remedy="import again into a new folder",
        )
    return np.where(cells >= 0, cells, np.nan)
