"""Starts a module's function in a process that never outlives its supervisor.

The supervisor holds the other end of the process's standard input. Whatever ends the supervisor, SIGKILL included, closes that
end, and the process leaves at once. This works wherever there are pipes, and needs no signal handler.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading


def leave_with_supervisor() -> None:
    """End this process when standard input ends."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, name="watchdog", daemon=True).start()


def main() -> None:
    """``python -m conf.processes.child MODULE:FUNCTION [ARGUMENT ...]``."""
    module, _, function = sys.argv[1].partition(":")
    leave_with_supervisor()
    sys.argv = sys.argv[1:]
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main()
