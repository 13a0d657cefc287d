"""From local columns to the contract's variables, as one SQL query that DuckDB can stream.

Each value gets a status beside it, so that bad ones can be counted without being looked at. The SQL holds no patient
value, only column names, codes, units and constants of mapping and contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from federation.data.arrays import Image, Mask, Signal
from federation.data.contract import Continuous, DataContract, Integer, Variable
from site_client.sources.codes import canonical_code, code_text, codes_of, finite_number
from site_client.sources.database import identifier, literal
from site_client.sources.mapping import CsvSource, SiteMapping, VariableMapping


class Status(IntEnum):
    """What became of one value."""

    USABLE = 0
    MISSING = 1
    UNREADABLE = 2
    """Not a number, or not a date."""
    NOT_FINITE = 3
    UNKNOWN_CODE = 4


KEY = "patient_key"
DATE = "index_date"
DATE_STATUS = "index_date_status"
_BLANKS = "' \t\n\r\xa0'"
"""Written out: DuckDB would join them anew for every column that it plans."""
_LARGEST = 1e100
"""Numbers beyond this are no measurement; DuckDB's arithmetic would overflow on the largest of them."""


def value_column(index: int) -> str:
    """Column of the converted values of the contract's ``index``-th variable."""
    return f"value_{index}"


def status_column(index: int) -> str:
    """Column of the statuses beside :func:`value_column`."""
    return f"status_{index}"


@dataclass(frozen=True)
class _Expressions:
    """SQL of one variable: parse the trimmed text, judge it, convert it."""

    column: str
    number: str
    status: str
    value: str

    def parsed(self, index: int) -> str:
        """What later expressions need of the text, each with a comma before it; planning takes longer than reading a small file."""
        text, code, number = f"text_{index}", f"code_{index}", f"number_{index}"
        used = f"{self.status} {self.value}"
        columns = [f"{_canonical(text)} AS {code}"] if code in used else []
        columns += [f"{self.number} AS {number}"] if number in used else []
        return "".join(f", {column}" for column in columns)


def conversion_query(mapping: SiteMapping, contract: DataContract, *, relation: str, has_blanks: bool = True) -> str:
    """The SELECT that turns the rows of a relation into keys, dates, values and statuses.

    Args:
        mapping: Columns, units and codes of the site; checked against the contract before.
        contract: What they become.
        relation: Name of a table or view.
        has_blanks: Whether texts may begin or end with a blank; taking them off is half of the work.

    Returns:
        SQL with the columns ``patient_key``, ``index_date``, ``index_date_status`` and, for the i-th of the contract's
        columns, a DOUBLE ``value_i`` (NaN unless usable) and a :class:`Status` ``status_i``.

    Raises:
        MappingError: A unit does not convert, or a code leads to a level that the contract does not have.
    """
    variables = [_expressions(mapping, variable, index) for index, variable in enumerate(contract.columns)]
    key = mapping.patient_key.column
    text = _trimmed if has_blanks else _untrimmed
    texts = [f"{'NULL' if key is None else text(key)} AS {KEY}", _date_text(mapping, contract, text)]
    texts += [f"{text(one.column)} AS text_{index}" for index, one in enumerate(variables)]
    parsed = [one.parsed(index) for index, one in enumerate(variables)]
    judged = [f"{one.status} AS {status_column(index)}" for index, one in enumerate(variables)]
    values = [f"{one.value} AS {value_column(index)}, {status_column(index)}" for index, one in enumerate(variables)]
    # Names, codes and constants in it are quoted by `identifier` and `literal`.
    return (
        f"SELECT {KEY}, CASE WHEN {DATE_STATUS} = 0 THEN CAST({DATE} AS DATE) END AS {DATE}, {DATE_STATUS}, "  # noqa: S608 - every part is quoted
        f"{', '.join(values)} FROM (SELECT *, {_date_status()}, {', '.join(judged)} "
        f"FROM (SELECT *, {_date(mapping)} AS {DATE}{''.join(parsed)} "
        f"FROM (SELECT {', '.join(texts)} FROM {identifier(relation)})))"
    )


def assumed_units(mapping: SiteMapping, contract: DataContract) -> tuple[str, ...]:
    """Variables with a unit in the contract for which the mapping gives none."""
    return tuple(
        variable.name
        for variable in contract.columns
        if isinstance(variable, Continuous | Integer)
        and variable.unit != "dimensionless"
        and mapping.variables[variable.name].unit is None
    )


def _trimmed(column: str) -> str:
    return f"NULLIF(trim(CAST({identifier(column)} AS VARCHAR), {_BLANKS}), '')"


def _untrimmed(column: str) -> str:
    return f"NULLIF(CAST({identifier(column)} AS VARCHAR), '')"


def _canonical(expression: str) -> str:
    return rf"regexp_replace({expression}, '^([+-]?[0-9]+)\.0*$', '\1')"


def _expressions(mapping: SiteMapping, variable: Variable, index: int) -> _Expressions:
    local = mapping.variables[variable.name]
    codes = codes_of(mapping.site, variable, local)
    missing = _is_missing(mapping, local, index, [code for code, target in codes.items() if target is None])
    known = {code: target for code, target in codes.items() if target is not None}
    is_known = f"WHEN {_any_of(f'code_{index}', known)} THEN 0 " if known else ""
    of_code = " ".join(f"WHEN {literal(code)} THEN CAST({target!r} AS DOUBLE)" for code, target in known.items())
    from_code = f"CASE code_{index} {of_code} END" if known else "NULL"
    if isinstance(variable, Continuous | Integer | Image | Signal | Mask):
        number = _number(mapping, f"text_{index}")
        otherwise = (
            f"WHEN number_{index} IS NULL THEN {int(Status.UNREADABLE)} WHEN NOT isfinite(number_{index}) "
            f"OR abs(number_{index}) > {_LARGEST!r} THEN {int(Status.NOT_FINITE)} ELSE 0"
        )
        is_number = isinstance(variable, Continuous | Integer)
        # An array's cell is its row in the store, which has no unit.
        own = _converted(mapping.site, variable, local, f"number_{index}") if is_number else f"number_{index}"
        converted = f"coalesce({from_code}, {own})" if known else own
    else:
        number, otherwise, converted = "NULL", f"ELSE {int(Status.UNKNOWN_CODE)}", from_code
    status = f"CASE WHEN {missing} THEN {int(Status.MISSING)} {is_known}{otherwise} END"
    value = f"CASE WHEN {status_column(index)} = 0 THEN {converted} ELSE CAST('nan' AS DOUBLE) END"
    return _Expressions(column=local.column, number=number, status=f"CAST({status} AS UTINYINT)", value=value)


def _number(mapping: SiteMapping, text: str) -> str:
    if isinstance(mapping.source, CsvSource) and mapping.source.decimal_separator == ",":
        text = f"replace({text}, ',', '.')"
    # DuckDB reads 1_000 as a number; no hospital means it so.
    return f"CASE WHEN contains({text}, '_') THEN NULL ELSE TRY_CAST({text} AS DOUBLE) END"


def _converted(site: str, variable: Continuous | Integer, local: VariableMapping, number: str) -> str:
    if local.unit in {None, variable.unit} and local.scale == 1.0:
        return number
    from site_client.sources.units import convert_factor  # and with it pint, which the same unit needs not

    conversion = convert_factor(
        local.unit or variable.unit, variable.unit, variable=variable.name, site=site, molar_mass=local.molar_mass
    )
    factor = conversion.factor * local.scale
    if factor == 1.0 and conversion.offset == 0.0:
        return number
    return f"{number} * CAST({factor!r} AS DOUBLE) + CAST({conversion.offset!r} AS DOUBLE)"


def _is_missing(mapping: SiteMapping, local: VariableMapping, index: int, null_codes: Iterable[str]) -> str:
    texts = [code_text(code) for code in local.missing_codes]
    if isinstance(mapping.source, CsvSource):
        texts += [code_text(code) for code in mapping.source.null_values]
    conditions = [f"text_{index} IS NULL"]
    for expression, options in (
        (f"text_{index}", texts),
        (f"code_{index}", [*null_codes, *(canonical_code(text) for text in texts)]),
    ):
        conditions += [_any_of(expression, options)] if options else []
    numbers = [repr(value) for value in map(finite_number, texts) if value is not None]
    if numbers:
        conditions.append(f"coalesce(number_{index} IN ({', '.join(numbers)}), false)")
    return " OR ".join(conditions)


def _any_of(expression: str, texts: Iterable[str]) -> str:
    """Of at least one text."""
    return f"coalesce({expression} IN ({', '.join(literal(text) for text in texts)}), false)"


def _date_text(mapping: SiteMapping, contract: DataContract, text: Callable[[str], str]) -> str:
    wanted = contract.index_date is not None and mapping.index_date is not None
    return f"{text(mapping.index_date.column) if wanted and mapping.index_date else 'NULL'} AS date_text"


def _date(mapping: SiteMapping) -> str:
    format_ = mapping.index_date.format if mapping.index_date else None
    if format_ is None and isinstance(mapping.source, CsvSource):
        format_ = mapping.source.date_format
    if format_ is None:
        return "TRY_CAST(date_text AS TIMESTAMP)"
    return f"try_strptime(date_text, {literal(format_)})"


def _date_status() -> str:
    return (
        f"CASE WHEN date_text IS NULL THEN {int(Status.MISSING)} WHEN {DATE} IS NULL OR NOT isfinite({DATE}) "
        f"THEN {int(Status.UNREADABLE)} ELSE 0 END AS {DATE_STATUS}"
    )
