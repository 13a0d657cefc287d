"""``python -m deploy.container_test``: builds the three images on this machine and runs a consortium in them.

For machines without a Docker engine and without a registry of images: Debian's buildah (``--isolation chroot``), podman with runc,
and a base image made by debootstrap. Needs root. What is built stays in ``build/containers`` and makes the next run fast.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.container_test import base as debian
from deploy.container_test.checks import Checks
from deploy.container_test.consortium import Consortium
from deploy.container_test.document_checks import check_bill_form, check_chart, check_units
from deploy.container_test.engine import CommandFailedError, Engine, missing_tools, say
from deploy.container_test.guide import check_typed
from deploy.container_test.image_checks import check_bill, check_image
from deploy.container_test.records import generate_records
from deploy.container_test.running_checks import check_end, check_running
from deploy.container_test.study import ContainerStudy
from deploy.container_test.tools import find_or_make_tools
from deploy.sbom import TARGETS

ROOT: Final = Path(__file__).resolve().parents[2]
PARTS: Final = ("documents", "images", "consortium")


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts that are asked for.

    Returns:
        0 if everything holds.
    """
    chosen = _parser().parse_args(words)
    missing = missing_tools()
    if os.getuid() != 0 or missing:
        say("needs root" if os.getuid() != 0 else f"missing: {', '.join(missing)}")
        say("  apt-get install --no-install-recommends buildah podman runc debootstrap netavark aardvark-dns catatonit")
        return 2
    folder: Path = chosen.folder.absolute()
    engine, checks = Engine(folder), Checks()
    try:
        _run(engine, chosen, folder, checks)
    except CommandFailedError as failure:
        checks.that("the commands of this test succeed", holds=False, found=failure)
    if chosen.clean:
        engine.remove()
    for statement in checks.failed:
        say(f"failed: {statement}")
    say(f"{checks.passed} passed, {len(checks.failed)} failed")
    return 1 if checks.failed else 0


def _run(engine: Engine, chosen: argparse.Namespace, folder: Path, checks: Checks) -> None:
    source: Path = chosen.source.absolute()
    parts = set(chosen.part or PARTS)
    say("==> tools")
    tools = find_or_make_tools(folder / "tools")
    if "documents" in parts:
        say("==> chart and units")
        check_chart(tools, source / "deploy/helm/cohortium-aggregator", checks)
        check_units(source / "deploy/systemd", folder / "units", checks)
    images = {target: f"localhost/cohortium-{target}:test" for target in TARGETS}
    if {"images", "consortium"} & parts and not chosen.built:
        base = chosen.base or debian.find_or_make_base(engine, mirror=chosen.mirror)
        for target, image in images.items():
            say(f"==> building {target} on {base}")
            engine.build(target, source=source, base=base, tag=image)
    if "images" in parts:
        for target, image in images.items():
            say(f"==> image {target}")
            check_image(engine, target, image, checks)
            check_bill(engine, target, image, checks, output=folder / "sbom")
            check_bill_form(tools, folder / "sbom" / f"{target}.cdx.json", checks)
    if "consortium" in parts:
        _run_consortium(
            Consortium.of(engine, tools, folder=folder / "consortium", images=images, deploy=source / "deploy"), checks
        )


def _run_consortium(consortium: Consortium, checks: Checks) -> None:
    say("==> a consortium of one aggregator and three hospitals")
    consortium.end()
    try:
        public, records = generate_records(consortium.folder / "drawn")
        consortium.prepare(records)
        consortium.enrol()
        consortium.start(checks)
        check_running(consortium, checks)
        say("==> a study, from its proposal to its release")
        ContainerStudy(consortium, public, checks).run()
        check_typed(ROOT / "docs", consortium.engine.typed, checks)
        check_end(consortium, checks)
    finally:
        consortium.end()
    if checks.failed:
        say(f"everybody's files stay in {consortium.folder}")
        return
    consortium.remove_files()
    checks.equal("no container, no network and no file of anybody is left", consortium.left(), [])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Build the images here, and run a consortium in them.")
    parser.add_argument("--part", action="append", choices=PARTS, help="what to do; otherwise everything")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/containers", help="storage, tools and outputs")
    parser.add_argument("--source", type=Path, default=ROOT, help="the source tree to build from")
    parser.add_argument("--built", action="store_true", help="take the images of the last run")
    parser.add_argument("--base", help="base image by digest; otherwise one is made by debootstrap")
    parser.add_argument("--mirror", default=debian.MIRROR, help="of Debian's packages")
    parser.add_argument("--clean", action="store_true", help="delete everything in the folder afterwards")
    return parser


if __name__ == "__main__":
    sys.exit(main())
