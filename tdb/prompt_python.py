"""Python that is typed at the prompt: run in the training thread, in the frame where training stands, as pdb does."""

from __future__ import annotations

import re
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from tdb.enclosed import evaluate_enclosed, has_inner_scopes, run_enclosed
from tdb.errors import TdbError, in_words
from tdb.interruptible import Evaluation, Listens
from tdb.standing import OVER
from tdb.variables import assign_variables, namespace_of, variables_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType, FrameType

    from tdb.session import Session

FILE_NAME = "<tdb>"
_CONVENIENCE = re.compile(r"\$_(\w*)")


def run_python(session: Session, text: str) -> Any:
    """Run Python in the selected frame so that training does not notice; return its value, None of a statement.

    Raises:
        StateError: training is running.
        TdbError: what the Python raised.
    """
    session.need_not_running()
    session.names.at_stop(session.controller.gate.stops)
    frame = session.stack.frame()
    evaluation = Evaluation(lambda: _run(session, text, frame, lasting=session.status not in OVER))
    front = session.front
    listening = front.listening(evaluation.interrupt) if isinstance(front, Listens) else nullcontext()
    try:
        with listening:
            if not session.settings["guard"]:
                return session.controller.gate.call(evaluation)
            return session.controller.call(evaluation, user_code=True)
    except KeyboardInterrupt:  # it came here; left alone, an endless loop would hold training for ever
        evaluation.interrupt()
        raise


def run_python_again(session: Session, text: str) -> None:
    """Run Python where training stands now, when it passes a step anew; called by the training thread."""
    frames = session.stack.frames()
    frame = frames[-1] if frames else None
    session.controller.call(lambda: _run(session, text, frame), user_code=session.settings["guard"])


def _run(session: Session, text: str, frame: FrameType | None, *, lasting: bool = True) -> Any:
    module = vars(session.run.module) if session.run is not None and session.run.module else {}
    return session.names.run(text, frame, module, _convenience(session), lasting=lasting)


def _convenience(session: Session) -> dict[str, Any]:
    """Return the values of `$_step`, `$_epoch`, `$_`, `$_exception`, `$_bpnum`."""
    state = session.controller.get_state()
    return {
        "step": state["step"],
        "epoch": state["epoch"],
        "": session.value,
        "exception": session.stack.error(),
        "bpnum": session.armed.points.last_number,
    }


def compiled(text: str, mode: str) -> CodeType:
    """Compile what was typed, without Python's remarks on its style: each would be a line on the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return compile(text, FILE_NAME, mode)


class PromptNamespace:
    """Where Python typed at the prompt is evaluated: a frame's variables, and names made at the prompt itself."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self._notices: list[str] = []
        self._stop = 0
        self._shadowing: set[str] = set()  # names that were made here and have a value in the script, too

    def at_stop(self, number: int) -> None:
        """Forget at another stop what was made here and hides a value of the script: it would hide its later ones."""
        if number != self._stop:
            for name in self._shadowing:
                self.made.pop(name, None)
            self._stop, self._shadowing = number, set()

    def take_notices(self) -> list[str]:
        """Return which assignments training will not see, and forget it."""
        notices, self._notices = self._notices, []
        return notices

    def run(
        self,
        text: str,
        frame: FrameType | None,
        module: Mapping[str, Any],
        convenience: Mapping[str, Any],
        *,
        lasting: bool = True,
    ) -> Any:
        """Evaluate an expression, or execute a statement, and return the value (None for a statement).

        Args:
            text: Python, in which `$_name` reads `convenience["name"]`.
            frame: the frame whose variables are seen and assigned; without one, `module`'s are.
            module: the script's global names.
            convenience: values of `$_step` and the like.
            lasting: the frame will run on, so that what is assigned in it matters.

        Raises:
            TdbError: whatever the Python raised, as one line.
        """
        used = set(_CONVENIENCE.findall(text))
        if unknown := used - set(convenience):
            known = ", ".join(f"$_{name}" for name in convenience)
            raise TdbError(f"no value $_{min(unknown)}", f"There are {known}")
        text = _CONVENIENCE.sub(r"__tdb_\1", text).strip()
        extra = {**self.made, **{f"__tdb_{name}": convenience[name] for name in used}}
        variables = frame.f_globals if frame is not None else dict(module)
        space = namespace_of(frame) if frame is not None else None
        local = variables_of(frame) if frame is not None else {}
        outer = {name: value for name, value in extra.items() if name not in (space or {})}
        around = outer if local is variables else {**outer, **local}
        try:
            try:
                code = compiled(text, "eval")
            except SyntaxError:
                return self._execute(text, frame, variables, extra, lasting)
            if has_inner_scopes(code):
                return evaluate_enclosed(text, FILE_NAME, variables, around)
            return eval(code, variables, around)  # noqa: S307 - a debugger evaluates what is typed
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # `p exit()` is no way out, as in pdb
            raise TdbError(in_words(error)) from error

    def _execute(
        self, text: str, frame: FrameType | None, module: dict[str, Any], extra: dict[str, Any], lasting: bool
    ) -> None:
        code = compiled(text, "exec")
        space = namespace_of(frame) if frame is not None else None
        names: dict[str, Any] = {**(space or {}), **variables_of(frame)} if frame is not None else {}
        before = {**extra, **names}
        variables = frame.f_globals if frame is not None else module
        if frame is not None and space is None and has_inner_scopes(code):
            merged = run_enclosed(text, FILE_NAME, variables, before)
        else:
            merged = dict(before)
            exec(code, variables, merged)  # noqa: S102 - as above
        assigned = {name: value for name, value in merged.items() if name not in before or before[name] is not value}
        own = set()
        if frame is not None and space is None:
            own = {*frame.f_code.co_varnames, *frame.f_code.co_cellvars, *frame.f_code.co_freevars}
            assign_variables(frame, {name: merged[name] for name in own & set(merged)})
        elif space is not None:
            space.update(assigned)
        self._delete(before.keys() - merged.keys(), frame, space, own)
        if frame is not None:
            self._note_what_does_not_last(frame, space, list(assigned), own, lasting)
        self.made.update(
            {
                name: value
                for name, value in merged.items()
                if name not in own and name not in names and not name.startswith("__tdb_")
            }
        )

    def _delete(self, names: set[str], frame: FrameType | None, space: dict[str, Any] | None, own: set[str]) -> None:
        """Delete what a statement has deleted, as far as Python allows it."""
        for name in names:
            self.made.pop(name, None)
            if space is not None:
                space.pop(name, None)
            elif frame is not None and name in own:
                self._notices.append(f"{name} stays: a local variable of {frame.f_code.co_name} cannot be deleted here")

    def _note_what_does_not_last(
        self, frame: FrameType, space: dict[str, Any] | None, assigned: list[str], own: set[str], lasting: bool
    ) -> None:
        function = frame.f_code.co_name
        for name in assigned:
            if not lasting and (name in own or space is not None):
                self._notices.append(f"{name} is assigned, but {function} will not run on: training is over")
            elif name not in own and space is None and name in frame.f_globals:
                self._shadowing.add(name)
                self._notices.append(
                    f"{name} is no local variable of {function}: the new value is known at this prompt alone, until "
                    f"training goes on; for the script: ! globals()[{name!r}] = ..."
                )
