"""What a hostile process in the place of the gateway tries. Run as its own program, by another account; prints what succeeded.

It does not use our code: an attacker would not.
"""

import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path


def attempt(action):
    """Whether an action succeeds, and what came of it."""
    try:
        return {"succeeded": True, "result": repr(action())[:200]}
    except (OSError, ValueError, EOFError, AssertionError) as failure:
        return {"succeeded": False, "result": type(failure).__name__}


def reading(path):
    return lambda: Path(path).read_bytes()[:16]


def writing(path):
    def write():
        with Path(path).open("ab") as stream:
            stream.write(b"\n")

    return write


def exchange(path, content, *, length=None):
    """Send one frame to the agent, and give back what comes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        connection.sendall((len(content) if length is None else length).to_bytes(8, "little"))
        connection.sendall(content)
        received = b""
        while len(received) < 8 or len(received) < 8 + int.from_bytes(received[:8], "little"):
            part = connection.recv(2**20)
            if not part:
                raise EOFError
            received += part
        return received[8:]


def answered(path, content):
    """Succeeds if the agent's answer is signed: then it took the request for genuine."""

    def ask():
        reply = exchange(path, content)
        if not reply.startswith(b"cohortium/authenticated/1") or b"refusal" in reply:
            raise ValueError
        return len(reply)

    return ask


def entering(agent):
    """Join the agent's network namespace."""

    def enter():
        descriptor = os.open(f"/proc/{agent}/ns/net", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    return enter


def tracing(agent):
    """PTRACE_ATTACH, as a debugger would."""

    def trace():
        if ctypes.CDLL(None, use_errno=True).ptrace(16, agent, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    return trace


def replacing_socket(path):
    def replace():
        Path(path).unlink()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)

    return replace


def actions(facts):
    home, socket_path, agent = Path(facts["home"]), facts["socket"], facts["agent"]
    forged, replayed = bytes.fromhex(facts["unsigned"]), bytes.fromhex(facts["of_another_study"])
    return {
        "read the identity key": reading(home / "identity.key"),
        "read the ledger": reading(home / "ledger.sqlite"),
        "read the records": reading(facts["records"]),
        "read the encoded patients": reading(facts["patients"]),
        "read the audit log": reading(home / "audit.jsonl"),
        "list the studies": lambda: list((home / "studies").iterdir()),
        "list the home": lambda: list(home.iterdir()),
        "read another study's folder": reading(Path(facts["other_study"]) / "manifest.json"),
        "read the policy": reading(home / "policy.yaml"),
        "write the policy": writing(home / "policy.yaml"),
        "put an approval of its own": lambda: (home / "approvals" / "x.json").write_text("{}"),
        "write the forwarder's code": writing(facts["forwarder"]),
        "write Flower's code": writing(facts["flower"]),
        "swap the consortium's authority": writing(home / "gateway" / "authority.crt"),
        "write the supervisor's log": writing(home / "logs" / "agent.log"),
        "take the agent's socket away": replacing_socket(socket_path),
        "forge a request": answered(socket_path, forged),
        "replay a request for another study": answered(socket_path, replayed),
        "announce 100 GB": lambda: exchange(socket_path, b"x" * 100, length=100 * 10**9),
        "enter the agent's network namespace": entering(agent),
        "trace the agent": tracing(agent),
        "read the agent's memory": reading(f"/proc/{agent}/mem"),
        "read the agent's environment": reading(f"/proc/{agent}/environ"),
        "end the agent": lambda: os.kill(agent, signal.SIGTERM),
    }


def main():
    facts = json.loads(Path(sys.argv[1]).read_text())
    chosen = {"connect": lambda: exchange(facts["socket"], bytes.fromhex(facts["genuine"]))}
    if len(sys.argv) == 2:
        chosen = {"use the agent": answered(facts["socket"], bytes.fromhex(facts["genuine"])), **actions(facts)}
    sys.stdout.write(json.dumps({name: attempt(action) for name, action in chosen.items()}))


if __name__ == "__main__":
    main()
