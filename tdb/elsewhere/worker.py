"""A fresh process that takes a run anew; started by the route of that name."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from tdb.commands import all_commands
from tdb.controller import DebugController
from tdb.elsewhere.arriving import arrive_and_serve
from tdb.elsewhere.channel import Channel, end_with, front_handle
from tdb.elsewhere.front_routes import routes_of_the_front
from tdb.elsewhere.keeper import Keeper
from tdb.elsewhere.serving import SentFront, SentShow
from tdb.elsewhere.streams import sent_output
from tdb.launch import Run
from tdb.script import Script
from tdb.session import Session
from tdb.shell.line_ends import line_ends_noted

if TYPE_CHECKING:
    from tdb.elsewhere.rerun import Order


def main() -> None:
    """Take the run anew that the front asks for, and serve it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the front's to hear
    descriptor, front = map(int, sys.argv[1:3])
    end_with(front, front_handle(front))
    channel = Channel(Connection(descriptor))
    try:
        message = channel.take()
    except EOFError:
        return  # the way was given up before it began
    assert message is not None
    order: Order = message[1]
    from tdb.shell.interpreter import Interpreter

    controller = DebugController()
    session = Session(controller, all_commands(), SentFront(channel))
    script = Script(order.target, order.arguments, order.is_module)
    session.run = Run(controller, script, session.main_thread, order.seed, again=order.beginning)
    limit = order.forks
    keeper = Keeper(session, lambda step, process, ours: channel.send_with(ours, "parked", step, process), front)
    controller.keep_with(keeper if limit else None)
    session.routes[:] = routes_of_the_front(channel, session.routes)
    show = SentShow(session, channel)
    interpreter = Interpreter(session, show, order.log_file)  # type: ignore[arg-type]
    with sent_output(show.output) if order.captures else line_ends_noted(sys.stdout, sys.stderr):
        arrive_and_serve(interpreter, channel, order.route, order.step, order.carried)


if __name__ == "__main__":
    main()
