"""One bit changed in the installed code or in the lock is refused, before anything is imported that reads a record."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from federation.errors import CodeRefusedError
from federation.governance.audit_log import read_log
from site_client.accepted_code import accept_code
from site_client.installed_code import (
    Installed,
    changed_library_files,
    check_installed,
    differences,
    installed_files,
    installed_libraries,
    read_accepted,
)
from tests.site_client.hospital_site import Site
from tests.site_client.installed_tree import AGENT, copied, flip, run_in


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def accepting(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    accept_code(site.layout, clock=site.clock, thorough=False)
    return site


def test_a_copy_is_what_was_accepted(tree: Path, accepting: Site) -> None:
    found = check_installed(accepting.layout.accepted_code, root=tree)
    assert found == read_accepted(accepting.layout.accepted_code)
    assert len(found.files) > 500
    assert {"torch", "flwr", "cryptography"} <= set(found.libraries)
    assert "cohortium" not in found.libraries


def test_a_folder_inside_a_library_is_its_own_record_s_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray, once imported, has libraries of its own on the path; a folder that lies elsewhere counts."""
    before = installed_libraries()
    home = next(Path(entry) for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"})
    made = tmp_path / "elsewhere"
    (made / "strange-1.0.dist-info").mkdir(parents=True)
    (made / "strange-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    monkeypatch.setattr(sys, "path", [str(home / "ray" / "thirdparty_files"), *sys.path])
    assert installed_libraries() == before
    monkeypatch.setattr(sys, "path", [*sys.path, str(made)])
    assert set(installed_libraries()) - set(before) == {"strange"}


def test_each_flipped_bit_of_the_installed_code_is_named(tree: Path) -> None:
    accepted = Installed(installed_files(tree), {})
    names = sorted(accepted.files)
    assert any(name.endswith(".yaml") for name in names)
    generator = np.random.default_rng(3)
    for name in generator.choice(names, 12, replace=False):
        path = tree / name
        content = path.read_bytes()
        if not content:
            continue
        flip(path, int(generator.integers(len(content))))
        found = Installed(installed_files(tree), {})
        assert differences(accepted, found) == (name,)
        assert found.code != accepted.code
        path.write_bytes(content)
    assert Installed(installed_files(tree), {}).code == accepted.code


@pytest.mark.parametrize("name", ["site_client/json.py", "federation/extra.pyc", "site_client/fast.abi3.so"])
def test_a_file_too_many_is_named(tree: Path, name: str) -> None:
    accepted = Installed(installed_files(tree), {})
    (tree / name).write_bytes(b"pass")
    try:
        assert differences(accepted, Installed(installed_files(tree), {})) == (name,)
    finally:
        (tree / name).unlink()


def test_a_missing_file_and_a_link_are_noticed(tree: Path, tmp_path: Path) -> None:
    accepted, path = Installed(installed_files(tree), {}), tree / "site_client" / "policy.py"
    content = path.read_bytes()
    path.rename(tmp_path / "policy.py")
    try:
        assert differences(accepted, Installed(installed_files(tree), {})) == ("site_client/policy.py",)
        path.symlink_to(tmp_path / "policy.py")  # could be changed where nobody looks
        with pytest.raises(CodeRefusedError, match="symbolic link"):
            installed_files(tree)
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(content)


def library(folder: Path, *, content: bytes = b"answer = 42\n", name: str = "fever_curves") -> Path:
    """An installed library of one module; returns its record."""
    (folder / f"{name}.py").write_bytes(content)
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    encoded = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    record = information / "RECORD"
    record.write_text(
        f"{name}.py,sha256={encoded},{len(content)}\n../../bin/{name},sha256=abc,3\n{name}-1.0.dist-info/RECORD,,\n"
        f"{name}-1.0.dist-info/INSTALLER,sha256=xyz,4\n"
    )
    return record


def test_one_bit_of_the_lock_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = library(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = Installed({}, installed_libraries())
    assert "fever-curves" in before.libraries
    content = record.read_bytes()
    begin, end = content.index(b"sha256=") + 7, content.index(b"\n")  # hash and length of the module
    for at in (*range(begin, end, 9), end - 1):
        flip(record, at)
        assert differences(before, Installed({}, installed_libraries())) == ("library fever-curves",)
        record.write_bytes(content)
    assert Installed({}, installed_libraries()).lock == before.lock


def test_where_and_by_what_a_library_was_installed_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = library(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = installed_libraries()
    text = record.read_text().replace("../../bin/", "../../../usr/bin/").replace("=xyz", "=uvw")
    record.write_text("\n".join(reversed(text.splitlines())) + "\n")
    assert installed_libraries() == before


def test_a_librarys_file_that_is_not_what_its_record_says_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(changed_library_files({"fever-curves": ""})) == []
    flip(tmp_path / "fever_curves.py")
    assert list(changed_library_files({"fever-curves": ""})) == ["fever_curves.py"]
    (tmp_path / "fever_curves.py").unlink()
    assert list(changed_library_files({"fever-curves": ""})) == ["fever_curves.py"]


def test_the_gateway_compares_only_libraries_that_both_sides_have() -> None:
    accepted, found = Installed({}, {"a": "1", "torch": "2"}), Installed({}, {"a": "1", "flwr": "3"})
    assert differences(accepted, found, shared_only=True) == ()
    assert differences(accepted, found) == ("library flwr", "library torch")
    assert differences(accepted, Installed({}, {"a": "9"}), shared_only=True) == ("library a",)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"acceptance": {"files": 3}}', b"[" * 100_000, b"\xff\xfe", b'{"acceptance": null}'],
)
def test_a_damaged_paper_is_a_refusal_and_no_permission(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "code.json"
    path.write_bytes(content)
    with pytest.raises(CodeRefusedError):
        check_installed(path)


def test_without_a_paper_nothing_is_compared_unless_one_is_needed(tmp_path: Path) -> None:
    assert check_installed(tmp_path / "code.json").files
    with pytest.raises(CodeRefusedError, match="none yet"):
        check_installed(tmp_path / "code.json", is_needed=True)


@pytest.mark.parametrize("changed", ["site_client/training.py", "federation/protocol/authenticated.py"])
def test_an_agent_with_one_changed_bit_is_refused_before_import(tree: Path, accepting: Site, changed: str) -> None:
    path = tree / changed
    content = path.read_bytes()
    flip(path)
    try:
        said = [run_in(tree, AGENT, str(accepting.layout.folder)) for _ in range(2)]
    finally:
        path.write_bytes(content)
    assert said == [f"CodeRefusedError installed_code ('{changed}',) []"] * 2
    last, before = read_log(accepting.layout.audit).entries[-1], read_log(accepting.layout.audit).entries[-2]
    assert (last.event, last.reason, set(last.hashes)) == ("request_refused", "installed_code", {"code", "libraries"})
    assert before.hashes != last.hashes  # started again and again, it is written once
    assert not (accepting.layout.folder / "s").exists()


def test_an_agent_with_another_lock_is_refused_before_import(tree: Path, accepting: Site, tmp_path: Path) -> None:
    """The paper says another hash of one library: as if that library's record had changed."""
    home = Site(tmp_path).layout
    data = json.loads(accepting.layout.accepted_code.read_text())
    data["acceptance"]["libraries"]["torch"] = "0" * 64
    home.accepted_code.write_text(json.dumps(data))
    assert run_in(tree, AGENT, str(home.folder)) == "CodeRefusedError installed_libraries ('library torch',) []"
    assert read_log(home.audit).entries[-1].reason == "installed_libraries"


HIDDEN = """
import sys
from pathlib import Path
from site_client import agent_process
from site_client.home_paths import SiteLayout
from site_client.source_only import run_sources_only
if sys.argv[2] == "checked":
    agent_process._accepted(SiteLayout(Path(sys.argv[1])))
if sys.argv[2] == "replaced":
    agent_process._accepted(SiteLayout(Path(sys.argv[1])))
    Path("site_client/pausing.py").write_text("hidden = True")
try:
    from site_client import pausing
    print("hidden" if hasattr(pausing, "hidden") else "source")
except Exception as failure:
    print(type(failure).__name__)
"""


def hide(tree: Path, name: str, content: bytes = b"hidden = True\n") -> Path:
    """Put a compiled file beside a source that Python takes for that source's."""
    source = tree / name
    found = source.stat()
    code = sys.modules["importlib._bootstrap_external"]._code_to_timestamp_pyc(  # as Python writes it
        compile(content, str(source), "exec"), int(found.st_mtime), found.st_size
    )
    path = Path(importlib.util.cache_from_source(str(source)))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(code)
    return path


def test_a_compiled_file_is_no_way_around(tree: Path, accepting: Site) -> None:
    hidden = hide(tree, "site_client/pausing.py")
    home = str(accepting.layout.folder)
    try:
        assert run_in(tree, HIDDEN, home, "not checked") == "hidden"  # what Python does by itself
        assert run_in(tree, HIDDEN, home, "checked") == "source"
    finally:
        hidden.unlink()


def test_what_was_imported_before_the_check_came_from_its_source(tree: Path, accepting: Site) -> None:
    source = tree / "site_client" / "network_isolation.py"
    hidden = hide(tree, "site_client/network_isolation.py", source.read_bytes() + b"hidden = True\n")
    try:
        assert run_in(tree, AGENT, str(accepting.layout.folder)).startswith("CodeRefusedError installed_code")
    finally:
        hidden.unlink()


def test_a_source_that_is_replaced_between_check_and_import_is_refused(tree: Path, accepting: Site) -> None:
    path = tree / "site_client" / "pausing.py"
    content = path.read_bytes()
    try:
        assert run_in(tree, HIDDEN, str(accepting.layout.folder), "replaced") == "CodeRefusedError"
    finally:
        path.write_bytes(content)
