from __future__ import annotations

import stat

import pytest

from federation.errors import MappingError, RecordsUnreadableError
from site_client.sources import database as home
from site_client.sources.database import Resources, identifier, literal, open_database
from tests.site_client.small_site import SECRET


@pytest.fixture
def database():
    with open_database(Resources(), site="st_mary") as opened:
        yield opened


def test_a_failure_carries_no_value_not_even_as_its_context(database):
    with pytest.raises(RecordsUnreadableError) as caught:
        database.run(f"SELECT CAST('{SECRET}' AS INTEGER)")
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert caught.value.site == "st_mary"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{other}')",
        "SELECT * FROM read_csv('{other}')",
        "SELECT * FROM '{other}'",
        "COPY (SELECT 1) TO '{other}.out'",
        "ATTACH '{other}.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_paths = ['{other}']",
    ],
)
def test_a_sealed_database_reaches_nothing_but_its_file(database, tmp_path, sql):
    own, other = tmp_path / "own.csv", tmp_path / "other.csv"
    own.write_text("a\n1\n")
    other.write_text(f"{SECRET}\n1\n")
    database.seal(own)
    assert database.numbers(f"SELECT count(*) FROM read_csv('{own}')") == [1]
    with pytest.raises(RecordsUnreadableError):
        database.run(sql.format(other=other))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.csv", "own.csv"]


@pytest.mark.parametrize("query", ["SELECT 1", "SELECT 1;", "WITH a AS (SELECT 1) SELECT * FROM a -- so\n"])
def test_one_select_is_accepted(database, query):
    database.run(f"CREATE VIEW v AS {database.select_statement(query)}")


@pytest.mark.parametrize(
    "query",
    ["", "SELECT 1; SELECT 2", "DROP TABLE x", "COPY x TO 'y'", "selec 1", "SELECT 1; DROP TABLE x", "PRAGMA threads=2",
     "INSERT INTO x VALUES (1)", "ATTACH 'x'", "CREATE TABLE x AS SELECT 1", "EXPLAIN SELECT 1"],
)  # fmt: skip
def test_anything_else_is_refused(database, query):
    with pytest.raises(MappingError, match="one SELECT statement"):
        database.select_statement(query)


def test_rows_are_streamed_in_batches_and_keep_their_order(database, monkeypatch):
    monkeypatch.setattr(home, "BATCH_ROWS", 3)
    rows = [(str(number), None if number % 2 else "ü") for number in range(8)]
    table = 'a "table"'
    database.load(table, ['x"y', "z"], iter(rows))
    missing = literal("-")
    found = database.arrays(f'SELECT "x""y" AS x, coalesce(z, {missing}) AS z FROM {identifier(table)}')
    assert list(zip(found["x"], found["z"], strict=True)) == [(x, z or "-") for x, z in rows]
    assert database.columns(table) == ('x"y', "z")


def test_an_empty_stream_gives_an_empty_table(database):
    database.load("t", ["a"], iter(()))
    assert database.numbers("SELECT count(*) FROM t") == [0]


def test_quoting():
    assert literal("it's") == "'it''s'"
    assert identifier('a"b') == '"a""b"'


def test_a_date_format_is_checked(database):
    database.check_date_format("%d.%m.%Y")
    with pytest.raises(MappingError, match="date format"):
        database.check_date_format("%d.%Q")


def test_spilled_data_is_private_and_gone_afterwards(tmp_path):
    with open_database(Resources(temporary_folder=tmp_path), site="a") as database:
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        database.run("CREATE TEMP TABLE t AS SELECT range FROM range(10)")
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_told_as_such(tmp_path):
    resources = Resources(memory_limit="20MB", temporary_folder=tmp_path)
    with open_database(resources, site="st_mary") as database:
        database.run("SET max_temp_directory_size = '0KB'")
        with pytest.raises(RecordsUnreadableError, match="too little memory") as caught:
            database.run("CREATE TEMP TABLE t AS SELECT random() AS a, random()::VARCHAR AS b FROM range(3000000)")
    assert "memory_limit" in caught.value.remedy
