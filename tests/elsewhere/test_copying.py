"""A copy of the process, as the script sees it being made."""

from __future__ import annotations

import os
import threading
import warnings

from tdb.elsewhere.copying import exact_copy


def test_a_copy_is_nothing_to_warn_of_and_what_was_warned_of_once_is_not_warned_of_again() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True, name="tdb")
    thread.start()
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(2):
            warnings.warn("once", stacklevel=1)
            copy = exact_copy()
            if copy == 0:
                os._exit(0)
            os.waitpid(copy, 0)
    over.set()
    thread.join()
    assert [str(each.message) for each in shown] == ["once"]
