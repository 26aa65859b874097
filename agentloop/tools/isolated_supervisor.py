"""Stands between the app and an isolated tool: forks the tool's process, and ends all of it when the app says so or is gone.

Run as a script with the request as one line on its standard input, which stays open for as long as the tool may run. It imports
nothing of ours itself, and never runs a tool's code, so that no tool can keep it from its work.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import sys
from typing import Any

_PARENT_CHECK_MILLISECONDS = 1_000
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Run one tool call, and say at last how its process ended."""
    parent = os.getppid()
    line = _line()
    if not line:
        return
    # What the tool prints goes where errors go, and never between our lines.
    out = os.dup(1)
    os.dup2(2, 1)
    wake = _wake_on_child()
    # Whoever loses its parent comes to us, and not to an app that may be the first process of a container and reaps nobody.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    me = os.getpid()
    child = os.fork()
    if not child:
        _become_worker(me)
        _work(json.loads(line), out)
        return
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    status = _watch(child, wake, parent)
    with contextlib.suppress(BrokenPipeError):
        os.write(out, json.dumps({"say": "ended", "status": status}).encode() + b"\n")
    os._exit(0)


def _line() -> bytes:
    found = bytearray()
    while not found.endswith(b"\n"):
        piece = os.read(0, 65_536)
        if not piece:
            return b""
        found += piece
    return bytes(found)


def _wake_on_child() -> int:
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.signal(signal.SIGCHLD, _heard)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _heard(_number: int, _frame: object) -> None:
    """Let the wakeup descriptor be written to, which is only done for signals that are not ignored."""


def _watch(child: int, wake: int, parent: int) -> int:
    """Wait until the child has ended or nobody wants it any more, and end its group; gives its exit code, or minus the signal."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(wake, select.POLLIN)
    status = None
    while status is None and os.getppid() == parent:
        heard = {descriptor for descriptor, _ in poll.poll(_PARENT_CHECK_MILLISECONDS)}
        if wake in heard:
            os.read(wake, 4_096)
        status = _ended(child)
        # Nothing more is ever written there: it has been closed.
        if 0 in heard:
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return status


def _ended(child: int) -> int | None:
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def _become_worker(supervisor: int) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:
        os._exit(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def _work(request: dict[str, Any], out: int) -> None:
    sys.path[:] = request["path"]
    importlib.import_module("agentloop.tools.isolated_worker").work(request, out)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415  # only Linux has what it is for

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
