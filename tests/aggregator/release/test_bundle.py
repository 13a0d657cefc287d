from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from aggregator.release import bundle
from aggregator.release.bundle import add_acceptance, check_graph, make_release
from aggregator.release.finished_study import read_finished
from federation.errors import AuditFailedError, CohortiumError, ReleaseRefusedError, SignatureRefusedError
from federation.governance.release_files import REQUIRED
from federation.governance.releases import RELEASE_FILE, SignedRelease, open_release, sign_release
from federation.protocol.signatures import SigningKey
from federation.study.model_file import StudyModel
from tests.aggregator.release.finished_run import LEAD, NOW, SITE, change_json, finished_run, model_bytes, random_model
from tests.example_report import example_manifest
from tests.federation.privacy.example_audit import example_audit


def release_of(folder: Path, **changes: object) -> Path:
    make_release(read_finished(finished_run(folder / "run", **changes)), folder / "release", lead=LEAD, now=NOW)
    return folder / "release"


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("private", [True, False])
def test_a_release_is_what_the_study_made(tmp_path: Path, task: str, private: bool) -> None:
    folder = release_of(tmp_path, task=task, private=private)
    opened = open_release(folder, lead=LEAD.public_key)
    assert {path.name for path in folder.iterdir()} == {*REQUIRED, RELEASE_FILE}
    assert opened.manifest == example_manifest(task, private=private)
    assert (opened.model.parameters == random_model(opened.manifest).parameters).all()
    assert check_graph(opened) == opened.signed.release.parity.largest_difference
    statement = json.loads(opened.contents["privacy_statement.json"])
    assert statement["private"] is private


def test_a_file_that_was_changed_removed_or_replaced_is_refused_by_name(tmp_path: Path) -> None:
    folder = release_of(tmp_path)
    for name in (*REQUIRED, RELEASE_FILE):
        path = folder / name
        content = path.read_bytes()
        step = max(1, len(content) // 40)
        for position in range(0, len(content), step):
            flipped = bytearray(content)
            flipped[position] ^= 1
            path.write_bytes(flipped)
            with pytest.raises(CohortiumError):  # of the record: what is no record, or not signed
                open_release(folder, lead=LEAD.public_key)
        for other in (content + b"\n", content[:-2], b""):
            path.write_bytes(other)
            if name != RELEASE_FILE:
                with pytest.raises(ReleaseRefusedError, match=name):
                    open_release(folder, lead=LEAD.public_key)
        path.unlink()
        with pytest.raises(ReleaseRefusedError, match=name):
            open_release(folder, lead=LEAD.public_key)
        (folder / "elsewhere").write_bytes(content)
        path.symlink_to(folder / "elsewhere")
        with pytest.raises(ReleaseRefusedError, match=name):
            open_release(folder, lead=LEAD.public_key)
        path.unlink()
        path.write_bytes(content)
    open_release(folder, lead=LEAD.public_key)


def test_another_key_is_refused(tmp_path: Path) -> None:
    folder = release_of(tmp_path)
    stranger = SigningKey.generate()
    with pytest.raises(SignatureRefusedError):
        open_release(folder, lead=stranger.public_key)
    record = SignedRelease.from_json((folder / RELEASE_FILE).read_bytes())
    (folder / RELEASE_FILE).write_text(sign_release(record.release, stranger).model_dump_json())
    with pytest.raises(SignatureRefusedError):
        open_release(folder, lead=LEAD.public_key)
    changed = record.release.model_copy(update={"audited": True})
    (folder / RELEASE_FILE).write_text(record.model_copy(update={"release": changed}).model_dump_json())
    with pytest.raises(SignatureRefusedError):
        open_release(folder, lead=LEAD.public_key)


def test_an_unsigned_record_is_none(tmp_path: Path) -> None:
    folder = release_of(tmp_path)
    data = json.loads((folder / RELEASE_FILE).read_text())
    del data["lead"]
    (folder / RELEASE_FILE).write_text(json.dumps(data))
    with pytest.raises(ReleaseRefusedError):
        open_release(folder, lead=LEAD.public_key)


def test_a_record_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    folder = release_of(tmp_path)
    data = json.loads((folder / RELEASE_FILE).read_text())
    data["release"]["files"]["../run/report.json"] = "00" * 32
    (folder / RELEASE_FILE).write_text(json.dumps(data))
    with pytest.raises(ReleaseRefusedError):
        open_release(folder, lead=LEAD.public_key)


def test_acceptances_are_checked_where_the_key_is_known(tmp_path: Path) -> None:
    folder = release_of(tmp_path)
    parties = {"cleveland": SITE.public_key}
    assert open_release(folder, lead=LEAD.public_key, parties=parties).accepted == ()
    add_acceptance(folder, lead=LEAD.public_key, signer="cleveland", key=SITE)
    add_acceptance(folder, lead=LEAD.public_key, signer="cleveland", key=SITE)
    assert open_release(folder, lead=LEAD.public_key, parties=parties).accepted == ("cleveland",)
    assert open_release(folder, lead=LEAD.public_key).accepted == ()
    with pytest.raises(SignatureRefusedError):
        open_release(folder, lead=LEAD.public_key, parties={"cleveland": LEAD.public_key})
    add_acceptance(folder, lead=LEAD.public_key, signer="hungarian", key=SigningKey.generate())
    with pytest.raises(SignatureRefusedError):
        open_release(folder, lead=LEAD.public_key, parties=parties | {"hungarian": SITE.public_key})
    (folder / "model_card.md").write_text("changed")
    with pytest.raises(ReleaseRefusedError):
        add_acceptance(folder, lead=LEAD.public_key, signer="cleveland", key=SITE)


def test_an_audit_that_refutes_the_claim_forbids_the_release(tmp_path: Path) -> None:
    digest = example_manifest().digest
    bad = example_audit(bound=3.0, claimed=2.0, digest=digest)
    run = finished_run(tmp_path / "run", audits=(example_audit(digest=digest), bad))
    with pytest.raises(AuditFailedError):
        make_release(read_finished(run), tmp_path / "release", lead=LEAD, now=NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_an_audit_in_the_report_counts_without_its_file(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    data = json.loads((run / "report.json").read_text())
    bad = example_audit(bound=3.0, claimed=2.0, digest=example_manifest().digest)
    data["privacy"]["audits"] = [bad.as_data()]
    (run / "report.json").write_text(json.dumps(data))
    with pytest.raises(AuditFailedError):
        make_release(read_finished(run), tmp_path / "release", lead=LEAD, now=NOW)


def test_a_missing_audit_is_said_and_a_good_one_goes_along(tmp_path: Path) -> None:
    folder = release_of(tmp_path / "without")
    assert not open_release(folder, lead=LEAD.public_key).signed.release.audited
    assert "No empirical audit" in (folder / "model_card.md").read_text()
    audit = example_audit(digest=example_manifest().digest)
    folder = release_of(tmp_path / "with", audits=(audit,))
    opened = open_release(folder, lead=LEAD.public_key)
    assert opened.signed.release.audited
    assert "audit.json" in opened.contents
    assert json.loads(opened.contents["privacy_statement.json"])["audits"]
    assert "did not refute" in (folder / "model_card.md").read_text()


def test_an_export_that_is_wrong_is_not_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = bundle.export_onnx

    def perturbed(model: StudyModel) -> bytes:
        changed = model.parameters.copy()
        changed[2] += 0.01
        return honest(StudyModel(model.manifest, changed, model.prepared))

    monkeypatch.setattr(bundle, "export_onnx", perturbed)
    run = finished_run(tmp_path / "run")
    with pytest.raises(ReleaseRefusedError, match="ONNX"):
        make_release(read_finished(run), tmp_path / "release", lead=LEAD, now=NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_release_is_never_overwritten(tmp_path: Path) -> None:
    folder = release_of(tmp_path)
    with pytest.raises(ReleaseRefusedError, match="new"):
        make_release(read_finished(tmp_path / "run"), folder, lead=LEAD, now=NOW)


def test_a_model_of_another_size_is_not_released(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    manifest = example_manifest()
    short = StudyModel(manifest, random_model(manifest).parameters[:-1])
    (run / "seed-42" / "model.safetensors").write_bytes(model_bytes(short))
    with pytest.raises(ReleaseRefusedError, match="number of parameters"):
        make_release(read_finished(run), tmp_path / "release", lead=LEAD, now=NOW)


def test_a_run_that_says_other_than_its_manifest_is_refused(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    report, place = run / "report.json", run / "seed-42"
    text, privacy = report.read_text(), json.loads(report.read_text())["privacy"]
    for wrong in (
        {"manifest_digest": "sha256:" + "00" * 32},
        {"privacy": privacy | {"epsilon": 1.0}},
        {"privacy": privacy | {"delta": 1e-9}},
        {"privacy": privacy | {"epsilon_spent": {"cleveland": 2.1}}},
        {"privacy": privacy | {"private": False}},
    ):
        change_json(report, **wrong)
        with pytest.raises(ReleaseRefusedError):
            read_finished(run)
        report.write_text(text)
    manifest = example_manifest()
    model = place / "model.safetensors"
    for content in (
        b"",
        b"x" * 100,
        model_bytes(random_model(manifest), digest="sha256:" + "00" * 32),
        model_bytes(StudyModel(manifest, random_model(manifest).parameters * float("nan"))),
        model_bytes(StudyModel(manifest, random_model(manifest).parameters.astype("float64"))),
    ):
        model.write_bytes(content)
        with pytest.raises(ReleaseRefusedError):
            read_finished(run)
    for path in (report, place / "manifest.json", model):
        path.unlink()
        with pytest.raises(ReleaseRefusedError):
            read_finished(run)


def test_noise_on_patients_that_can_be_repeated_is_not_released(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", provenance="public")
    data = json.loads((run / "report.json").read_text())
    manifest = example_manifest(provenance="patients")
    data["manifest_digest"] = manifest.digest
    data["privacy"]["reproducible_noise"] = True
    (run / "report.json").write_text(json.dumps(data))
    (run / "seed-42" / "manifest.json").write_text(manifest.sealed())
    (run / "seed-42" / "model.safetensors").write_bytes(model_bytes(random_model(manifest)))
    with pytest.raises(ReleaseRefusedError, match="seed"):
        read_finished(run)
