"""The selected frame: the innermost of the loop's, unless `up` went out; of a crash, the chosen exception's."""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType

from tdb.errors import StateError, TdbError


def chain_of(error: BaseException) -> list[BaseException]:
    """Return an exception with those that led to it, the first cause first: as a traceback shows them."""
    chain = [error]
    while True:
        earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if earlier is None or any(earlier is known for known in chain):
            return chain[::-1]
        chain.append(earlier)
        error = earlier


class Selection:
    """Which frame is selected, and which exception of a chain; it lasts for one stop.

    Args:
        outward: how many frames the first that is selected is outside the innermost.
    """

    def __init__(self, outward: int = 0) -> None:
        self._outward = outward
        self._earlier = 0
        self.listed = 0  # the last line that `list` has shown of the selected frame

    def frame(self, frames: list[FrameType]) -> FrameType | None:
        """Return the selected one of `frames`, outermost first."""
        return frames[-1 - self._outward] if len(frames) > self._outward else None

    def index(self, frames: Sequence[object]) -> int:
        """Return its position in `frames`; negative if there is none."""
        return len(frames) - 1 - self._outward

    def move(self, frames: list[FrameType], outward: int) -> None:
        """Go `outward` frames towards the outermost, as far as there are any; negative goes inward.

        Raises:
            StateError: there is nothing to go to.
        """
        if not frames:
            raise StateError("there is no frame", "Training has to be stopped, or crashed")
        wanted = min(max(self._outward + outward, 0), len(frames) - 1)
        if wanted == self._outward:
            raise StateError("this is the outermost frame" if outward > 0 else "this is the innermost frame")
        self._outward, self.listed = wanted, 0

    def error(self, chain: list[BaseException]) -> BaseException:
        """Return the chosen exception of a chain."""
        return chain[-1 - min(self._earlier, len(chain) - 1)]

    def choose_error(self, chain: list[BaseException], number: int) -> None:
        """Choose an exception by its position in the chain.

        Raises:
            TdbError: there is none.
        """
        if not 0 <= number < len(chain):
            raise TdbError(f"no exception {number}", f"They are 0..{len(chain) - 1}: see `exceptions`")
        self._earlier, self._outward, self.listed = len(chain) - 1 - number, 0, 0
