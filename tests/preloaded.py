"""Programs that begin with torch loaded: to import it, and what optimizers load at first, takes three seconds.

A process that has imported them once forks each program; all else is as with a fresh interpreter: `__main__`,
arguments, environment, streams, a session of its own, a terminal if it gets one, and an end with its own status.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Program:
    """A program that was started."""

    def __init__(self, process: int, status: int) -> None:
        self.process = process
        self._read_status = status
        self._status: int | None = None

    def wait(self, timeout: float) -> int:
        """Wait for its end; return its exit status, as `subprocess` does: negative if a signal ended it.

        Raises:
            TimeoutError: it is still running.
        """
        if self._status is None:
            if not select.select([self._read_status], [], [], timeout)[0]:
                raise TimeoutError(f"process {self.process} still runs after {timeout} s")
            self._status = os.waitstatus_to_exitcode(int(os.read(self._read_status, 100)))
            os.close(self._read_status)
        return self._status

    def kill(self) -> None:
        """End it, whatever it is doing."""
        if self._status is None:
            os.kill(self.process, signal.SIGKILL)
            self.wait(60)


class Preloaded:
    """The process that forks programs."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env=os.environ | {"OMP_NUM_THREADS": "1", "LANG": "C.UTF-8"},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    def start(
        self, arguments: Sequence[str], folder: Path, environ: Mapping[str, str], streams: tuple[int, int, int]
    ) -> Program:
        """Start `python ARGUMENTS`, which are a script's or begin with `-m`; streams are those it reads and writes."""
        read_status, write_status = os.pipe()
        request = {"arguments": list(arguments), "folder": str(folder), "environ": dict(environ)}
        socket.send_fds(self._connection, [b"+"], [*streams, write_status])
        os.close(write_status)
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        return Program(int(self._connection.recv(100)), read_status)

    def run(
        self, arguments: Sequence[str], folder: Path, environ: Mapping[str, str], stdin: bytes, timeout: float
    ) -> tuple[int, str, str]:
        """Run a program to its end; return its exit status, what it wrote, and what it wrote to stderr."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            given.write(stdin)
            given.seek(0)
            program = self.start(arguments, folder, environ, (given.fileno(), out.fileno(), error.fileno()))
            try:
                status = program.wait(timeout)
            finally:
                program.kill()
            out.seek(0)
            error.seek(0)
            return status, out.read().decode(), error.read().decode()

    def close(self) -> None:
        """Let the process go; programs go on."""
        self._connection.close()
        self._process.wait(60)


def serve(connection: socket.socket) -> dict[str, Any]:
    """Fork a program for each request; return the request in the process that shall be the program."""
    lines, waiters = connection.makefile("rb"), 0
    while True:
        _, handed, _, _ = socket.recv_fds(connection, 1, 4)
        if not handed:  # the other end is closed
            sys.exit()
        *streams, status = handed
        request: dict[str, Any] = json.loads(lines.readline())
        while waiters and os.waitpid(-1, os.WNOHANG)[0]:
            waiters -= 1
        waiters += 1
        if os.fork() == 0:
            process = os.fork()
            if process == 0:
                enter(streams)
                return request
            connection.sendall(str(process).encode())
            os.write(status, str(os.waitpid(process, 0)[1]).encode())
            os._exit(0)
        for each in handed:
            os.close(each)


def enter(streams: Sequence[int]) -> None:
    """Give this process the streams, a session, and the terminal if the first stream is one."""
    import fcntl
    import termios

    os.setsid()
    for number, each in enumerate(streams):
        os.dup2(each, number)
    os.closerange(3, 256)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc] # noqa: SIM115 - the program's
    for number, name in ((1, "stdout"), (2, "stderr")):
        raw = open(number, "wb", closefd=False)  # noqa: SIM115 - the program's
        errors = "strict" if number == 1 else "backslashreplace"
        stream = io.TextIOWrapper(raw, "utf-8", errors, line_buffering=number == 2 or os.isatty(number))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def run(request: Mapping[str, Any]) -> None:
    """Be `python ARGUMENTS`."""
    import random

    import numpy as np

    random.seed()
    np.random.seed()
    atexit.register(gc.unfreeze)  # or extension modules take what is frozen for leaked
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
    first, *more = request["arguments"]
    own_folder = Path(__file__).parent
    sys.path[:] = [folder for folder in sys.path if not folder or Path(folder) != own_folder]
    sys.path[0:0] = list(filter(None, os.environ.get("PYTHONPATH", "").split(":")))
    if first == "-m":
        sys.path.insert(0, str(Path.cwd()))
        sys.argv = more
        runpy._run_module_as_main(more[0])  # type: ignore[attr-defined] # what `python -m` does
    else:
        sys.argv = [first, *more]
        runpy.run_path(str(Path(first).absolute()), run_name="__main__")


if __name__ == "__main__":
    import torch._dynamo

    torch.optim.SGD([torch.zeros(1)]).zero_grad()
    gc.collect()
    gc.freeze()
    run(serve(socket.socket(fileno=int(sys.argv[1]))))
