"""`interrupt`: a script that saves on Ctrl-C gets its KeyboardInterrupt."""

from __future__ import annotations

from pathlib import Path

from tests.typing_session import TypingSession


def test_interrupt_at_a_boundary_between_boundaries_and_to_a_handler_of_the_script(tmp_path: Path) -> None:
    script = """
        import signal
        import time
        import tdb

        controller = tdb.attach()
        seen = []


        def train():
            try:
                for step in controller.steps(range(1, 10**9)):
                    controller.capture_batch([step], 1 / step)
            except KeyboardInterrupt:
                seen.append(("boundary", controller.position.step))


        def evaluate():
            try:
                while True:
                    time.sleep(0.001)
            except KeyboardInterrupt:
                seen.append("evaluation")


        train()
        evaluate()
        signal.signal(signal.SIGINT, lambda number, frame: seen.append("handler"))
        for step in controller.steps(range(1, 10**9)):
            controller.capture_batch([step], 1 / step)
            if "handler" in seen:
                break
    """
    session = TypingSession(tmp_path, script)
    session.play("""
        (tdb) interrupt
        *** training has not started: `start`, `step` or `continue` begins it
        (tdb) until 3
        > step 3  epoch 1  loss 0.3333        ...
        -> for step in controller.steps(range(1, 10**9)):
        (tdb) interrupt &
        training runs in the background: `pause` stops it, `wait` waits
        (tdb) interrupt &
        training runs in the background: `pause` stops it, `wait` waits
        (tdb) interrupt
        Training finished after 4 steps
        the script handles SIGINT: Ctrl-C still pauses, `interrupt` calls the script's handler
        (tdb) p seen[0], seen[1:]
        (('boundary', 3), ['evaluation', 'handler'])
    """)
    session.close()
