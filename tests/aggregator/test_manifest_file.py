from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from aggregator.manifest_file import read_manifest_file
from conf.strict_yaml import LARGEST_FILE
from federation.errors import ManifestError, TamperedManifestError
from tests.small_study import manifest, manifest_data, private


def _write(folder: Path, text: str | bytes, name: str = "study.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _refused(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest_file(path)
    return str(caught.value)


def test_yaml_json_and_sealed_are_the_same_manifest(tmp_path: Path) -> None:
    expected = manifest(privacy=private())
    plain = _write(tmp_path, yaml.safe_dump(manifest_data(privacy=private())))
    written = _write(tmp_path, json.dumps(manifest_data(privacy=private())), "study.json")
    sealed = _write(tmp_path, expected.sealed(), "sealed.json")
    as_yaml = _write(tmp_path, yaml.safe_dump(json.loads(expected.sealed())), "sealed.yaml")
    assert read_manifest_file(plain).manifest.digest == expected.digest
    assert read_manifest_file(written).manifest.digest == expected.digest
    assert (read_manifest_file(sealed).manifest.digest, read_manifest_file(sealed).sealed) == (expected.digest, True)
    assert read_manifest_file(as_yaml).sealed
    assert not read_manifest_file(plain).sealed


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    text = yaml.safe_dump(manifest_data()).replace("learning_rate: 0.5", "learning_rate: 5e-1")
    assert "5e-1" in text
    assert read_manifest_file(_write(tmp_path, text)).manifest.schedule.optimiser.learning_rate == 0.5


def test_a_date_is_a_date(tmp_path: Path) -> None:
    text = yaml.safe_dump(manifest_data()) + "expires: 2031-12-31\n"
    assert str(read_manifest_file(_write(tmp_path, text)).manifest.expires) == "2031-12-31"


def test_a_changed_sealed_manifest_is_refused(tmp_path: Path) -> None:
    text = manifest().sealed()
    changed = _write(tmp_path, text.replace('"rounds": 4', '"rounds": 40'))
    with pytest.raises(TamperedManifestError, match="expected digest"):
        read_manifest_file(changed)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("study: a\nstudy: b\n", "the key 'study' is written twice"),
        ('{"study": "a", "study": "b"}', "expected every key once, got ['study'] twice"),
        ("a: &x [1, 2]\nb: *x\n", "aliases are not used in such a document"),
        ("study: [1, 2\n", "got an error in line 2"),
        ("{", "got an error in line 1"),
        ("a: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("just text\n", "expected a mapping of manifest keys"),
        ("", "expected a mapping of manifest keys"),
        (b"study: \xff\xfe\n", "to be UTF-8 text"),
        ("study: \x00\n", "text that does not parse"),
        ("[" * 5000, "text that does not parse"),
        ("study: small\n", "title: Field required"),
    ],
)
def test_bad_files_say_what_is_wrong(content: str | bytes, expected: str, tmp_path: Path) -> None:
    assert expected in _refused(_write(tmp_path, content))


def test_a_missing_file_a_folder_and_a_huge_file(tmp_path: Path) -> None:
    assert "No such file" in _refused(tmp_path / "absent.yaml")
    assert "Is a directory" in _refused(tmp_path)
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as stream:
        stream.truncate(LARGEST_FILE + 1)
    assert "expected a manifest of at most" in _refused(huge)
