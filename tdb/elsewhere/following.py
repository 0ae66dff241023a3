"""Following again what was followed in a run that is taken anew: layers in focus, and their watched features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tdb.errors import TdbError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tdb.controller import DebugController
    from tdb.session import Session
    from tdb.watches.course import Course


def follow_again(session: Session, course: Course, step: int) -> None:
    """Follow what was followed after `step`, where training stands; what cannot be is told.

    Before the start no layer is known: the features are those of the layer that comes into focus by itself.
    """
    controller = session.controller

    def turn() -> None:
        focus = course.focus_after(step) or controller.layer.name
        for layer in course.layers_at(step):
            _move_focus(controller, layer)
            _leave(controller, course.left_at(step, layer))
            if course.forgets_at(step):
                controller.recorder.clear_trajectories()
            controller.recorder.watch(course.watched_after(step, layer), replace=True)
        _move_focus(controller, focus)

    _do(session, turn)


def follow_from_here(session: Session, course: Course, focus: str, watched: Iterable[int]) -> None:
    """Follow what the user follows by now, where training has come to; what had ended here begins anew.

    Args:
        session: of the process in which training goes on.
        course: of the branch.
        focus: the focus layer's name, empty if nobody has chosen one.
        watched: the watched features.
    """
    controller, step = session.controller, session.controller.position.step

    def turn() -> None:
        if controller.layer.info is None:
            controller.focus_on(focus)
        else:
            _move_focus(controller, focus or controller.layer.name)
        _leave(controller, course.left_at(step, controller.layer.name))
        controller.recorder.watch(watched, replace=True)

    _do(session, turn)


def _move_focus(controller: DebugController, layer: str) -> None:
    if controller.layer.info is not None and layer != controller.layer.name:
        controller.move_focus(layer)


def _leave(controller: DebugController, features: set[int]) -> None:
    recorder = controller.recorder
    recorder.unwatch(feature for feature in recorder.watched() if feature in features)


def _do(session: Session, turn: Callable[[], None]) -> None:
    try:
        session.at_boundary(turn)
    except TdbError as error:
        session.journal.notices.append(f"not followed from here on: {error}")
