"""Running a site's processes as accounts of their own, where tests run as root and Python lies where root alone can look."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AGENT, GATEWAY, THIRD = 41001, 41002, 41003


def as_user(user: int) -> list[str]:
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs", "--"]


def reaching_python(folder: Path) -> list[str] | None:
    """A prefix with which every account can run this Python; ``None`` if there is none.

    Where Python lies below a folder that others may not pass, such as /root, a mount namespace of our own shows them a folder in its
    place that holds nothing but Python.
    """
    if os.getuid() != 0 or not all(map(shutil.which, ("setpriv", "unshare", "mount"))):
        return None
    if _works([]):
        return []
    python = Path(sys.executable).resolve()
    closed = next((parent for parent in reversed(python.parents) if not parent.stat().st_mode & 0o001), None)
    if closed is None:
        return None
    inner = closed / python.relative_to(closed).parts[0]
    view = folder / "view"
    (view / inner.name).mkdir(parents=True)
    folder.chmod(0o755)
    script = (
        f'mount --make-rprivate / && mount --bind "{inner}" "{view / inner.name}" && '
        f'mount --rbind "{view}" "{closed}" && exec "$@"'
    )
    prefix = ["unshare", "--mount", "--", "sh", "-c", script, "sh"]
    return prefix if _works(prefix) else None


def _works(prefix: list[str]) -> bool:
    command = [*prefix, *as_user(GATEWAY), sys.executable, "-c", "import numpy, flwr, conf"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
