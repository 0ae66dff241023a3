"""Figures in windows of their own, one for each command that draws.

pyplot is not used: it has one current figure for the whole process, and a training script's own `plt.plot` would
land in a window of ours.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any

from tdb.errors import StateError
from tdb.results import Curves, Picture, Scatter
from tdb.views.curves import within
from tdb.views.figure import draw
from tdb.views.scatter import nearest_id

if TYPE_CHECKING:
    from matplotlib.backend_bases import Event, FigureManagerBase, MouseEvent
    from matplotlib.figure import Figure

TOOLKITS = {"tkagg": "_tkinter", "qtagg": "PyQt6", "gtk4agg": "gi"}
"""matplotlib's backends, and the module without which there is no trying; Tk first, it fails without aborting."""

FILE_BACKENDS = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
PUMP_SECONDS = 0.02


def has_display(environ: Mapping[str, str]) -> bool:
    """Return whether windows can be hoped for: a display, a toolkit, and no wish for a backend without windows."""
    if environ.get("MPLBACKEND", "").lower() in FILE_BACKENDS:
        return False
    if sys.platform.startswith("linux") and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return False
    return any(find_spec(module) for module in TOOLKITS.values())


@dataclass
class Window:
    """An open window: matplotlib's manager of it, what it shows and when that was, and a selector to be kept alive."""

    manager: FigureManagerBase
    picture: Picture
    moment: str = ""
    selector: Any = None

    @property
    def figure(self) -> Figure:
        """The figure in it."""
        figure: Figure = self.manager.canvas.figure
        return figure


class Windows:
    """The open windows, by the names of the commands that opened them.

    Args:
        on_click: called with a feature's id when its point is clicked.
    """

    def __init__(self, on_click: Callable[[int], object]) -> None:
        self._on_click = on_click
        self._windows: dict[str, Window] = {}
        self._numbers = count(1)
        self._closed = False

    def __len__(self) -> int:
        return len(self._windows)

    def show(self, picture: Picture, name: str, moment: str = "") -> None:
        """Show a picture in the window `name`, opening it if it is not open. Only the main thread may call this.

        Args:
            picture: what to show.
            name: of the window.
            moment: when it was seen; see `draw`.

        Raises:
            StateError: no toolkit can open a window here.
        """
        window = self._windows.get(name)
        if window is None:
            self._windows[name] = window = Window(self._open(picture, name), picture)
            self._connect(window, name)
        window.moment = moment
        self._fill(window, picture)
        self.pump()

    def pump(self) -> None:
        """Run the windows' events for a fiftieth of a second."""
        deadline = time.monotonic() + PUMP_SECONDS
        for window in list(self._windows.values()):
            window.manager.canvas.flush_events()
        if self._closed:
            # A closed window is a cycle of objects that only this thread may free: the toolkit's own are among them.
            self._closed = False
            gc.collect()
        time.sleep(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Close all windows."""
        for window in list(self._windows.values()):
            window.manager.destroy()
        self._windows.clear()
        gc.collect()

    def _open(self, picture: Picture, name: str) -> FigureManagerBase:
        """Open a window with the first toolkit that works."""
        reasons = []
        for backend in TOOLKITS:
            try:
                canvas = import_module(f"matplotlib.backends.backend_{backend}").FigureCanvas
                manager: FigureManagerBase = canvas.new_manager(draw(picture), next(self._numbers))
            except Exception as error:  # noqa: BLE001 - a toolkit may fail in any way; files are the way out
                reasons.append(f"{backend}: {error}")
                continue
            manager.set_window_title(f"tdb: {name}")
            manager.show()
            return manager
        raise StateError(f"no window can be opened ({reasons[0]})", "Figures go to files now; see `set figures`")

    def _connect(self, window: Window, name: str) -> None:
        canvas = window.manager.canvas
        canvas.mpl_connect("button_press_event", partial(self._clicked, window))
        canvas.mpl_connect("close_event", partial(self._forget, name))

    def _forget(self, name: str, _event: Event) -> None:
        self._windows.pop(name, None)
        self._closed = True

    def _clicked(self, window: Window, event: MouseEvent) -> None:
        """Answer a click: on a point of a scatter with its feature, a double one on curves with all their steps."""
        picture = window.picture
        if getattr(window.manager.toolbar, "mode", None):  # the toolbar is zooming or panning
            return
        if isinstance(picture, Scatter) and event.inaxes is not None:
            feature = nearest_id(picture, event.inaxes, event.x, event.y)
            if feature is not None:
                self._on_click(feature)
        elif isinstance(picture, Curves) and event.dblclick:
            self._fill(window, picture)

    def _fill(self, window: Window, picture: Picture, *, part: Picture | None = None) -> None:
        """Draw a picture, or the `part` of it that was chosen, into its window."""
        from matplotlib.backend_bases import NavigationToolbar2

        if window.selector is not None:
            window.selector.disconnect_events()
        window.picture = picture
        draw(part or picture, window.figure, window.moment)
        window.selector = self._selector(window) if isinstance(picture, Curves) else None
        if isinstance(window.manager.toolbar, NavigationToolbar2):
            window.manager.toolbar.update()
        window.manager.canvas.draw_idle()

    def _selector(self, window: Window) -> Any:
        """Return a selector with which a range of steps is chosen by dragging."""
        from matplotlib.widgets import SpanSelector

        def chosen(low: float, high: float) -> None:
            picture = window.picture
            if high > low and isinstance(picture, Curves):
                self._fill(window, picture, part=within(picture, low, high))

        axes = window.figure.axes[0] if window.figure.axes else None
        return axes and SpanSelector(axes, chosen, "horizontal", props={"alpha": 0.2, "facecolor": "#4c78a8"})
