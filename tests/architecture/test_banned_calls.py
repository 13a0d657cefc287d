"""What no line may call, beyond what ruff bans: code execution, unpickling, hidden randomness, and input in the domain."""

from __future__ import annotations

import ast
import re

import pytest

from tests.architecture.source_tree import PACKAGES, ROOT, Module, modules

ANYWHERE = (
    "eval", "exec", "compile", "__import__", "breakpoint",
    "pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib.load", "joblib.dump",
    "torch.load", "torch.save", "torch.manual_seed", "torch.seed", "numpy.load",
    "random", "numpy.random.seed", "numpy.random.rand", "numpy.random.randn", "numpy.random.default_rng",
    "numpy.random.RandomState",
    "hydra.utils.instantiate", "hydra.utils.call", "yaml.load", "yaml.unsafe_load",
    "os.system", "os.popen", "opacus.PrivacyEngine",
)  # fmt: skip
IN_THE_DOMAIN = (
    "print", "input", "open", "os.environ", "os.getenv", "os.urandom",
    "time", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
    "datetime.now", "socket", "subprocess", "urllib", "requests", "secrets",
    "pathlib.Path.cwd", "pathlib.Path.home",
)  # fmt: skip
FILE_METHODS = ("read_text", "read_bytes", "write_text", "write_bytes", "open", "mkdir", "unlink", "iterdir", "glob")
# The one writer of files, the one reader of the operating system's entropy, and what has to be set before any arithmetic.
ALLOWED = {
    "federation": ("setdefault",),
    "federation.durable_files": FILE_METHODS,
    "federation.privacy.randomness": ("token_bytes",),
}


def _matches(name: str, banned: tuple[str, ...]) -> bool:
    return any(name == entry or name.startswith(entry + ".") for entry in banned)


def _canonical(name: str) -> str:
    first, dot, rest = name.partition(".")
    return {"np": "numpy", "dt": "datetime"}.get(first, first) + dot + rest


def _banned(module: Module, banned: tuple[str, ...]) -> list[str]:
    return [f"{module.label}:{line} {name}" for name, line in module.calls() if _matches(_canonical(name), banned)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_banned_call(package: str) -> None:
    assert [
        hit for module in modules() if module.name.split(".")[0] == package for hit in _banned(module, ANYWHERE)
    ] == []


def test_the_domain_reads_no_clock_no_environment_and_no_file() -> None:
    domain = [module for module in modules() if module.name.split(".")[0] == "federation"]
    hits = [
        f"{module.label}:{line} {name}"
        for module in domain
        for name, line in module.calls()
        if _matches(_canonical(name), IN_THE_DOMAIN) or ("." in name and name.rsplit(".", 1)[1] in FILE_METHODS)
        if name.rsplit(".", 1)[-1] not in ALLOWED.get(module.name, ())
    ]
    assert hits == []


def test_a_dotted_path_in_yaml_is_never_code() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.y*ml")]
    assert len(files) > 10
    hits = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if re.search(r"_target_|!!python|\$\{oc\.env|\$\{oc\.decode", path.read_text(encoding="utf-8"))
    ]
    assert hits == []


def test_the_rules_catch_what_they_name() -> None:
    text = "import numpy as np\nfrom torch import load\nimport datetime as dt\nnp.random.seed(1)\nload('x')\ndt.datetime.now()\n"
    planted = Module(path=ROOT / "federation" / "planted.py", text=text, tree=ast.parse(text))
    assert [hit.split()[1] for hit in _banned(planted, ANYWHERE)] == ["numpy.random.seed", "torch.load"]
    assert [hit.split()[1] for hit in _banned(planted, IN_THE_DOMAIN)] == ["datetime.datetime.now"]
