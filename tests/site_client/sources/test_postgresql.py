from __future__ import annotations

import traceback
import uuid

import numpy as np
import pytest

from federation.errors import MappingError, MissingDependencyError, RecordsUnreadableError
from site_client.sources import postgresql
from site_client.sources.mapping import PostgresqlSource
from site_client.sources.postgresql import postgresql_columns, postgresql_rows
from tests.site_client.small_site import ROWS, contract, mapping, read

VARIABLE = "COHORTIUM_TEST_HOSPITAL"


def spec(**changes) -> PostgresqlSource:
    return PostgresqlSource.from_data({"kind": "postgresql", "dsn_environment_variable": VARIABLE, **changes})


@pytest.fixture
def schema(postgresql_address, monkeypatch):
    """A schema of its own with the small hospital's table; the address is in the environment."""
    import psycopg

    name = f"test_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgresql_address, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        connection.execute(
            f"CREATE TABLE {name}.visits (pid text, date date, age numeric(5, 1), chol double precision, sex char(1), "
            'pain real, stage int, died boolean, "odd ""name" text)'
        )
        for row in ROWS:
            cells = [cell or None for cell in row.split(",")]
            connection.execute(
                f"INSERT INTO {name}.visits VALUES (%s, %s, %s, %s, %s, %s, %s::numeric, %s::int::boolean, 'x')", cells
            )
        monkeypatch.setenv(VARIABLE, postgresql_address)
        yield name
        connection.execute(f"DROP SCHEMA {name} CASCADE")


def source_data(**changes):
    return {"kind": "postgresql", "dsn_environment_variable": VARIABLE, **changes}


def assert_expected(records):
    assert records.patient_keys.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(records.values["age"], [61, 47, 70, 55])
    np.testing.assert_array_equal(records.values["chol"], [233, np.nan, 180.5, 310])
    np.testing.assert_array_equal(records.values["male"], [1, 0, 1, 0])
    np.testing.assert_array_equal(records.values["pain"], [1, 2, 0, 1])
    np.testing.assert_array_equal(records.values["died"], [0, 1, 0, 1])


def test_a_table(schema, tmp_path):
    assert_expected(read(tmp_path, through=mapping(source=source_data(table=f"{schema}.visits"))))


@pytest.mark.parametrize("end", ["", ";", " -- everybody"])
def test_a_query_of_the_database(schema, tmp_path, end):
    query = f"SELECT * FROM {schema}.visits WHERE pid LIKE '%' ORDER BY pid{end}"
    assert_expected(read(tmp_path, through=mapping(source=source_data(query=query))))


def test_a_query_of_the_mapping_on_top(schema, tmp_path):
    through = mapping(
        source=source_data(table=f"{schema}.visits"), query="SELECT * FROM source WHERE CAST(age AS DOUBLE) > 50"
    )
    assert read(tmp_path, through=through).patient_keys.tolist() == ["a", "c", "d"]


def test_rows_arrive_in_batches(schema, monkeypatch):
    monkeypatch.setattr(postgresql, "BATCH_ROWS", 2)
    rows = list(postgresql_rows(spec(table=f"{schema}.visits"), ["died", 'odd "name', "age"], site="s"))
    assert rows == [("false", "x", "61.0"), ("true", "x", "47.0"), ("false", "x", "70.0"), ("true", "x", "55.0")]


def test_nothing_can_be_written(schema):
    query = f"WITH gone AS (DELETE FROM {schema}.visits RETURNING *) SELECT * FROM gone"
    for hostile in (
        query,
        f"SELECT 1) AS source; DELETE FROM {schema}.visits; SELECT (SELECT 1",
        "SELECT nextval('x')",
    ):
        with pytest.raises(RecordsUnreadableError):
            list(postgresql_rows(spec(query=hostile), ["pid"], site="s"))
    assert len(list(postgresql_rows(spec(table=f"{schema}.visits"), ["pid"], site="s"))) == 4


@pytest.mark.parametrize("table", ["absent", "no_schema.visits"])
def test_no_such_table(schema, table):
    with pytest.raises(RecordsUnreadableError, match=VARIABLE):
        postgresql_columns(spec(table=table), site="st_mary")


def test_a_column_that_is_not_there(schema, tmp_path):
    through = mapping(source=source_data(table=f"{schema}.visits"), variables={"age": {"column": "AGE"}})
    with pytest.raises(RecordsUnreadableError, match=r"\['AGE'\]"):
        read(tmp_path, of=contract(), through=through)


def test_the_address_is_in_no_message(postgresql_address, monkeypatch):
    wrong = postgresql_address.replace("@", "hunter2@")
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises(RecordsUnreadableError) as caught:
        postgresql_columns(spec(table="visits"), site="st_mary")
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
    assert "hunter2" not in told
    assert wrong.split("@")[0].split(":")[-1] not in told
    assert "127.0.0.1" not in told


@pytest.mark.parametrize("address", [None, "", "mysql://me:hunter2@host/db", "host=db password=hunter2"])
def test_an_environment_variable_without_an_address(monkeypatch, address):
    monkeypatch.delenv(VARIABLE, raising=False)
    if address is not None:
        monkeypatch.setenv(VARIABLE, address)
    with pytest.raises(MappingError, match=VARIABLE) as caught:
        postgresql_columns(spec(table="visits"), site="st_mary")
    assert "hunter2" not in str(caught.value)


def test_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setenv(VARIABLE, "postgresql://me@127.0.0.1:1/db")
    for module in ("sqlalchemy", "sqlalchemy.pool"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingDependencyError) as caught:
        postgresql_columns(spec(table="visits"), site="st_mary")
    assert "cohortium[site,postgresql]" in caught.value.remedy
