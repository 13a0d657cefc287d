"""A site's mapping file: how its own table becomes the variables of a contract. Written by the site's data manager.

::

    site: st_mary
    source: {kind: csv, path: cardiology.csv, delimiter: ";", null_values: ["?"]}
    patient_key: {column: PatNr}
    index_date: {column: Aufnahme, format: "%d.%m.%Y"}
    variables:
      chol: {column: Cholesterin, unit: mmol/L, molar_mass: 386.65 g/mol, missing_codes: [0]}
      sex: {column: Geschlecht, codes: {m: 1, w: 0, u: null}}
      died: {column: verstorben}

The file holds column names, units and codes, never a patient and never a password: a database is named by the
environment variable that holds its address.
"""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from federation.data.contract import DataContract
from federation.documents import Document
from federation.errors import MappingError
from federation.identifiers import SiteId, VariableName
from site_client.sources.mapping_text import load_mapping_text

Code = bool | int | float | str
Column = Annotated[str, Field(min_length=1)]


def _check_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        message = f"expected a text encoding such as utf-8, latin-1 or cp1252, got {name!r}"
        raise ValueError(message) from None
    return name


class CsvSource(Document):
    """A text file of separated values."""

    kind: Literal["csv"]
    path: Column
    """Relative to the folder of the mapping file."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    header: bool = True
    """Whether the first line holds the column names."""
    column_names: Annotated[tuple[Column, ...], Field(min_length=1)] | None = None
    """Names for a file without header; else ``column_1``, ``column_2``..."""
    null_values: tuple[Code, ...] = ()
    """Texts that mean missing, in every column, besides the empty one."""
    encoding: Annotated[str, AfterValidator(_check_encoding)] = "utf-8"
    decimal_separator: Literal[".", ","] = "."
    date_format: str | None = None
    """Such as ``%d.%m.%Y``; else dates are ISO 8601."""
    compression: Literal["auto", "none", "gzip"] = "auto"
    """``auto``: gzip if the name ends in ``.gz``."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if self.header and self.column_names is not None:
            message = "expected column_names only where header is false, got both"
            raise ValueError(message)
        names = [name.casefold() for name in self.column_names or ()]
        if len(set(names)) != len(names):
            message = "expected column_names that differ in more than upper and lower case"
            raise ValueError(message)
        return self


class ParquetSource(Document):
    """A Parquet file."""

    kind: Literal["parquet"]
    path: Column


class SqliteSource(Document):
    """A table or view of a SQLite file, opened read-only."""

    kind: Literal["sqlite"]
    path: Column
    table: Column


class PostgresqlSource(Document):
    """A table, view or query of a PostgreSQL database, read in a read-only transaction."""

    kind: Literal["postgresql"]
    dsn_environment_variable: Column
    """Name of the environment variable that holds ``postgresql://...``. The address itself is a secret."""
    table: Column | None = None
    """``table`` or ``schema.table``."""
    query: Column | None = None
    """A SELECT in the database's own dialect, instead of ``table``."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.table is None) == (self.query is None):
            message = "expected either table or query of a postgresql source, got both or none"
            raise ValueError(message)
        return self


class StoreSource(Document):
    """A store of imported images or signals: a table, and arrays that stay on the disk."""

    kind: Literal["store"]
    path: Column
    """The store's folder, relative to the folder of the mapping file."""
    null_values: tuple[Code, ...] = ()
    """Texts that mean missing, in every column, besides the empty one."""


SourceSpec = Annotated[
    CsvSource | ParquetSource | SqliteSource | PostgresqlSource | StoreSource, Field(discriminator="kind")
]


class PatientKeyMapping(Document):
    """Where the patient identifier is."""

    column: Column | None = None
    row_number: bool = False
    """Number the rows instead: only for a file in which every row is another patient."""
    repeated: bool = False
    """Whether several rows of a patient are meant. If not, they are an error, unless the study takes several."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.column is None) == (not self.row_number):
            message = "expected either column or row_number: true, got both or none"
            raise ValueError(message)
        return self


class IndexDateMapping(Document):
    """Where the date is that places a record in time."""

    column: Column
    format: str | None = None
    """Such as ``%d.%m.%Y``; else the source's ``date_format``, else ISO 8601."""


class VariableMapping(Document):
    """How one local column becomes one variable of the contract."""

    column: Column
    unit: str | None = None
    """The local unit. Left out, the contract's is assumed, and the readiness report says so."""
    molar_mass: str | None = None
    """Such as ``386.65 g/mol``: turns amounts of substance into masses."""
    scale: float = 1.0
    """Local values are multiplied by this before their unit is converted."""
    codes: dict[str, Code | None] | None = None
    """Local code to level, to 0 or 1, or to a number in the contract's unit; ``null`` means missing.

    Codes ``1`` and ``1.0`` are the same.
    """
    missing_codes: tuple[Code, ...] = ()
    """Local values that mean missing."""

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        if self.scale == 0:
            message = "expected a scale other than 0"
            raise ValueError(message)
        return self


class GenotypeMapping(Document):
    """Where the genotypes of the same patients are, and the list of variants that a study agreed on."""

    files: Column
    """PLINK's three files without ``.bed``, ``.bim`` and ``.fam``, relative to the folder of the mapping file. The within-family
    identifiers (IID) are the patient keys."""
    variants: Column
    """The study's list of variants, a ``.bim`` file: the manifest holds its digest."""


class SiteMapping(Document):
    """How one site's table becomes the variables of a contract. Stays at the site."""

    site: SiteId
    source: SourceSpec
    query: str | None = None
    """One SELECT over the table named ``source``, in DuckDB's dialect; columns below are then those of its result."""
    patient_key: PatientKeyMapping
    index_date: IndexDateMapping | None = None
    variables: Annotated[dict[VariableName, VariableMapping], Field(min_length=1)]
    genotypes: GenotypeMapping | None = None
    """For association studies of genetic variants; other studies do not look at it."""

    def check_against(self, contract: DataContract) -> None:
        """Check that every variable of the contract is mapped.

        Raises:
            MappingError: Naming the variables that are not.
        """
        absent = [variable.name for variable in contract.columns if variable.name not in self.variables]
        if absent:
            raise MappingError(
                f"expected a mapping for every variable of the contract, got none for {absent}",
                site=self.site,
                variable=absent[0] if len(absent) == 1 else "",
                remedy="add them under `variables` of the mapping" + _nearest(absent, self.variables),
            )
        if contract.index_date is not None and self.index_date is None:
            raise MappingError(
                "expected a column for the index date, got none",
                site=self.site,
                variable=contract.index_date.name,
                remedy="add `index_date: {column: ...}` to the mapping",
            )

    def columns(self, contract: DataContract) -> tuple[str, ...]:
        """Distinct local columns that the contract needs, in order."""
        names = [self.variables[variable.name].column for variable in contract.columns]
        if self.patient_key.column is not None:
            names.insert(0, self.patient_key.column)
        if contract.index_date is not None and self.index_date is not None:
            names.append(self.index_date.column)
        return tuple(dict.fromkeys(names))


def _nearest(absent: Iterable[str], present: Iterable[str]) -> str:
    names = list(present)
    pairs = [(name, difflib.get_close_matches(name, names, n=1, cutoff=0.5)) for name in absent]
    close = [f"{found[0]!r} may be meant as {name!r}" for name, found in pairs if found]
    return f" ({'; '.join(close)})" if close else ""


def parse_mapping(text: str) -> SiteMapping:
    """Read the text of a mapping file.

    Raises:
        MappingError: Naming the path, what came and the fix; a value that looks like a secret is never repeated.
    """
    return SiteMapping.from_data(load_mapping_text(text), error=MappingError)


def read_mapping(path: Path) -> SiteMapping:
    """Read a mapping file.

    Raises:
        MappingError: The file is missing, not UTF-8, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise MappingError(
            f"expected a readable mapping file in UTF-8 at {path}, got {type(failure).__name__}",
            remedy="check path, permissions and encoding of the file",
        ) from failure
    return parse_mapping(text)
