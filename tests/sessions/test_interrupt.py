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


def test_an_armed_stop_point_lets_it_come_at_the_boundary_all_the_same(tmp_path: Path) -> None:
    script = """
        import tdb

        controller = tdb.attach()
        inside, seen = False, []
        try:
            for step in range(1, 10**9):
                inside = True
                controller.capture_batch([step], 1 / step, step)
                inside = False
                controller.wait_if_paused()
        except KeyboardInterrupt:
            seen.append(controller.position.step == step and not inside)
    """
    session = TypingSession(tmp_path, script)
    session.type("step")
    session.type("break when loss > 100")
    session.type("continue &")
    assert "Training finished after" in session.type("interrupt")
    assert session.type("p seen") == "[True]\n"
    assert "nothing to wait for: training has finished at step" in session.type("wait")
    assert "Training finished" not in session.type("wait")
    session.close()
