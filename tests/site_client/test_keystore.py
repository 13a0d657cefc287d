"""Keys at a site: made once, also when two make them at once, and in exactly the formats that Flower 1.41 reads."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from federation.errors import InvalidInputError, StudyError
from site_client import keystore
from site_client.home_paths import SiteLayout


@pytest.fixture
def layout(tmp_path: Path) -> SiteLayout:
    made = SiteLayout(tmp_path / "site")
    keystore.prepare(made)
    return made


def test_flower_reads_both_halves_of_the_node_key(layout: SiteLayout) -> None:
    from flwr.cli.supernode.register import try_load_public_key
    from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message, verify_signature

    key = keystore.node_key(layout)
    private = load_ssh_private_key(layout.node_key.read_bytes(), None)  # what flower-supernode does
    registered = try_load_public_key(layout.node_public_key)  # what flwr supernode register does
    assert registered == key.public_key.encode()
    assert public_key_to_bytes(private.public_key()) == registered
    assert verify_signature(private.public_key(), b"time", sign_message(private, b"time"))


def test_flowers_command_takes_the_node_key(layout: SiteLayout) -> None:
    from argparse import Namespace

    from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication

    keystore.node_key(layout)
    arguments = Namespace(auth_supernode_private_key=str(layout.node_key), auth_supernode_public_key=None)
    found = _try_setup_client_authentication(arguments)
    assert found is not None
    assert found[1].curve.name == "secp384r1"


def test_keys_are_found_again(layout: SiteLayout) -> None:
    assert keystore.tls_key(layout.tls_key).public_key == keystore.tls_key(layout.tls_key).public_key
    assert keystore.node_key(layout).public_key == keystore.node_key(layout).public_key
    assert keystore.identity_key(layout).public_key == keystore.identity_key(layout).public_key
    assert layout.identity_key.is_file()
    layout.node_public_key.unlink()
    keystore.node_key(layout)
    assert layout.node_public_key.is_file()  # restored from the private half


def test_of_two_that_make_a_key_both_get_the_same(layout: SiteLayout, monkeypatch: pytest.MonkeyPatch) -> None:
    start, found = threading.Barrier(2), list[bytes]()
    numbers = iter((1, 2))
    monkeypatch.setattr(keystore.os, "getpid", lambda: next(numbers))  # as two processes would
    exists = Path.exists

    def both_see_nothing(path: Path) -> bool:
        answer = exists(path)
        start.wait(timeout=10)
        return answer

    def make() -> None:
        found.append(keystore._find_or_make(layout.tls_key, str(threading.get_ident()).encode))

    monkeypatch.setattr(Path, "exists", both_see_nothing)
    monkeypatch.setattr(keystore, "write_durably", lambda path, content, secret: path.write_bytes(content))
    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    assert len(set(found)) == 1
    assert [path.name for path in layout.gateway.iterdir()] == ["tls.key"]


@pytest.mark.parametrize("content", [b"", b"ward 3", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_something_else_in_a_keys_place_is_refused_and_kept(content: bytes, layout: SiteLayout) -> None:
    layout.tls_key.write_bytes(content)
    layout.node_key.write_bytes(content)
    for find in (lambda: keystore.tls_key(layout.tls_key), lambda: keystore.node_key(layout)):
        with pytest.raises(InvalidInputError) as refused:
            find()
        assert "ward" not in str(refused.value)
    assert layout.tls_key.read_bytes() == content


def test_a_key_of_another_kind_is_refused(layout: SiteLayout) -> None:
    keystore.tls_key(layout.tls_key)
    keystore.node_key(layout)
    layout.next_tls_key.write_bytes(layout.node_key.read_bytes())
    with pytest.raises(InvalidInputError):
        keystore.find_tls_key(layout.next_tls_key)


def test_a_folder_that_cannot_be_written_makes_no_key(layout: SiteLayout) -> None:
    layout.site_file.write_bytes(b"")
    with pytest.raises(StudyError):
        keystore.tls_key(layout.site_file / "tls.key")


def test_keys_never_show_themselves(layout: SiteLayout) -> None:
    for key in (keystore.tls_key(layout.tls_key), keystore.node_key(layout), keystore.identity_key(layout)):
        assert "PRIVATE" not in repr(key)
        assert "secret" not in repr(key)
