"""Messages between the front and the process that trains, and an end of that process with the front's end.

The two are one program, and nobody else can reach the socket between them: messages are pickled, as multiprocessing
does it.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import sys
import threading
import time
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

LOOK_SECONDS = 1.0


class Channel:
    """One end of the socket between two processes; any thread may send."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._given_back: list[tuple[Any, ...]] = []

    def send(self, kind: str, *contents: Any) -> None:
        """Send a message.

        Raises:
            OSError: the other process has gone.
        """
        with self._lock:
            self._connection.send((kind, *contents))

    def take(self, seconds: float | None = None) -> tuple[Any, ...] | None:
        """Return the next message, or None if none has come in time; None waits for ever.

        Raises:
            EOFError: the other process has gone.
        """
        if self._given_back:
            return self._given_back.pop()
        try:
            if not self._connection.poll(seconds):
                return None
            message: tuple[Any, ...] = self._connection.recv()
        except OSError:
            raise EOFError from None
        return message

    def give_back(self, message: tuple[Any, ...]) -> None:
        """Let the next `take` return a message that somebody has taken who cannot answer it."""
        self._given_back.append(message)

    def send_with(self, connection: Connection, kind: str, *contents: Any) -> None:
        """Send a message and, right behind it, a connection, which this process then has no more.

        Raises:
            OSError: the other process has gone.
        """
        with self._lock:
            self._connection.send((kind, *contents))
            send_handle(self._connection, connection.fileno(), 0)
        connection.close()

    def take_connection(self) -> Connection:
        """Return the connection that was sent behind the last message."""
        return Connection(recv_handle(self._connection))

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


def front_handle(front: int) -> int | None:
    """Return a descriptor that becomes readable when the process `front` has ended; None where there is none."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(front)
    except OSError:
        return None


def end_with(front: int, handle: int | None) -> None:
    """End this process at once when the process `front` ends, however it ends: killed, too."""

    def watch() -> None:
        if handle is not None:
            select.select([handle], [], [])
        else:
            while _lives(front):
                time.sleep(LOOK_SECONDS)
        kill_children()
        os._exit(1)

    threading.Thread(target=watch, name="tdb-front", daemon=True).start()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill_children() -> None:
    """Let no worker of a DataLoader outlive this process, which is about to end without an orderly exit."""
    for child in multiprocessing.active_children():
        child.kill()


def flush_streams() -> None:
    """Flush stdout and stderr, whatever they are."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            continue
