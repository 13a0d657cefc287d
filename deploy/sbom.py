"""Software bills of materials of the three images, as CycloneDX 1.6.

``python -m deploy.sbom`` writes what each image is made of, out of the metadata of this environment, which holds the versions of
``constraints.txt`` as the images do. With ``--root`` it writes what a mounted image really holds, Debian's packages included.
Two runs over the same packages write the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TARGETS: Final = ("agent", "gateway", "aggregator")
_REQUIREMENTS: Final = Path(__file__).parent / "requirements"
_PROJECT: Final = "cohortium"
_LONGEST_LICENCE: Final = 80
"""Some packages put the whole text where the name belongs."""

Component = dict[str, object]


def required_names(target: str) -> list[str]:
    """The lines of a target's requirements file."""
    lines = (_REQUIREMENTS / f"{target}.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


@dataclass(frozen=True)
class Package:
    """What the metadata of an installed package says.

    Args:
        name: Normalised.
        version: With its local part.
        licence: An expression or a name, or empty.
        is_expression: Which of the two.
        requires: With their markers.
    """

    name: str
    version: str
    licence: str
    is_expression: bool
    requires: tuple[Requirement, ...]

    @classmethod
    def of(cls, found: metadata.Distribution) -> Package:
        """Read a package's metadata once."""
        fields = found.metadata
        expression = (fields.get_all("License-Expression") or [""])[0].strip()
        name = (fields.get_all("License") or [""])[0].strip()
        return cls(
            name=canonicalize_name(fields["Name"]),
            version=fields["Version"],
            licence=expression or ("" if "\n" in name or len(name) > _LONGEST_LICENCE else name),
            is_expression=bool(expression),
            requires=tuple(Requirement(line) for line in fields.get_all("Requires-Dist") or ()),
        )

    @property
    def url(self) -> str:
        """Package URL."""
        return f"pkg:pypi/{self.name}@{self.version.replace('+', '%2B')}"

    def needs(self, extras: Iterable[str] = ()) -> list[Requirement]:
        """What it requires on this machine."""
        choices = ("", *extras)
        return [
            need
            for need in self.requires
            if need.marker is None or any(need.marker.evaluate({"extra": choice}) for choice in choices)
        ]


@cache
def installed(*folders: str) -> dict[str, Package]:
    """Packages by normalised name.

    Args:
        folders: Like ``sys.path``.
    """
    found: dict[str, Package] = {}
    for package in map(Package.of, metadata.distributions(path=list(folders))):
        found.setdefault(package.name, package)
    return found


def needed(names: Iterable[str], packages: dict[str, Package]) -> dict[str, Package]:
    """What a list of requirements brings, direct and transitive.

    Raises:
        KeyError: If one is not installed here.
    """
    found: dict[str, Package] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) not in seen:
            seen.add((name, frozenset(wanted.extras)))
            found[name] = packages[name]
            waiting += packages[name].needs(wanted.extras)
    return found


def bill(target: str, packages: dict[str, Package], *, debian: Sequence[Component] = ()) -> dict[str, object]:
    """The document.

    Args:
        target: One of :data:`TARGETS`.
        packages: Python packages by name.
        debian: Components of the operating system.
    """
    components = [_component(packages[name]) for name in sorted(packages) if name != _PROJECT] + list(debian)
    graph = [
        {
            "ref": package.url,
            "dependsOn": sorted({packages[need].url for need in _names(package) if need in packages}),
        }
        for name, package in sorted(packages.items())
        if name != _PROJECT
    ]
    root = f"pkg:generic/{_PROJECT}-{target}"
    graph.append({"ref": root, "dependsOn": [str(component["bom-ref"]) for component in components]})
    content: dict[str, object] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": f"{_PROJECT}-{target}",
                "version": _version(packages),
            }
        },
        "components": components,
        "dependencies": graph,
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "serialNumber": f"urn:uuid:{number}",
        **content,
    }


def debian_packages(root: Path) -> list[Component]:
    """Packages that dpkg says are installed below a folder."""
    status = root / "var/lib/dpkg/status"
    found: list[Component] = []
    for block in status.read_text(encoding="utf-8", errors="replace").split("\n\n") if status.is_file() else ():
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", block, flags=re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            url = f"pkg:deb/debian/{fields['Package']}@{fields['Version']}?arch={fields['Architecture']}"
            found.append(
                {
                    "type": "library",
                    "bom-ref": url,
                    "name": fields["Package"],
                    "version": fields["Version"],
                    "purl": url,
                }
            )
    return found


def of_environment(target: str) -> dict[str, object]:
    """The bill of a target, out of this environment."""
    packages = installed(*sys.path)
    own = {_PROJECT: packages[_PROJECT]} if _PROJECT in packages else {}
    return bill(target, needed(required_names(target), packages) | own)


def of_root(target: str, root: Path) -> dict[str, object]:
    """The bill of a mounted image."""
    folders = [str(path) for path in sorted((root / "opt" / _PROJECT / "lib").glob("python*/site-packages"))]
    return bill(target, installed(*folders), debian=debian_packages(root))


def main(words: Sequence[str] | None = None) -> None:
    """``python -m deploy.sbom [--root FOLDER --target TARGET] [--output FOLDER]``."""
    parser = argparse.ArgumentParser(description="Software bills of materials of the images, CycloneDX 1.6.")
    parser.add_argument("--output", type=Path, default=Path("build/sbom"), help="folder for TARGET.cdx.json")
    parser.add_argument("--target", choices=TARGETS, help="one only")
    parser.add_argument("--root", type=Path, help="a mounted image: what it really holds")
    chosen = parser.parse_args(words)
    if chosen.root is not None and chosen.target is None:
        parser.error("--root needs --target")
    chosen.output.mkdir(parents=True, exist_ok=True)
    for target in TARGETS if chosen.target is None else (chosen.target,):
        content = of_environment(target) if chosen.root is None else of_root(target, chosen.root)
        path = chosen.output / f"{target}.cdx.json"
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        sys.stdout.write(f"{path}: {len(content['components'])} components\n")  # type: ignore[arg-type]


def _names(package: Package) -> list[str]:
    return [canonicalize_name(need.name) for need in package.needs()]


def _component(package: Package) -> Component:
    component: Component = {
        "type": "library", "bom-ref": package.url, "name": package.name, "version": package.version, "purl": package.url,
    }  # fmt: skip
    if package.licence:
        licence = {"expression": package.licence} if package.is_expression else {"license": {"name": package.licence}}
        component["licenses"] = [licence]
    return component


def _version(packages: dict[str, Package]) -> str:
    return packages[_PROJECT].version if _PROJECT in packages else "0"


if __name__ == "__main__":
    main()
