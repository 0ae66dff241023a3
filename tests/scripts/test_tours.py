"""The tours that `make demo` shows run from beginning to end, and draw what they say they draw."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TOURS = sorted((ROOT / "recipes" / "tours").glob("*.tdb"))


@pytest.mark.parametrize("tour", TOURS, ids=lambda tour: tour.stem)
def test_a_tour(tour: Path, tmp_path: Path) -> None:
    recipe = ["-m", "recipes.gradient_gating_l0", "--condition", "bcl-slow", "--steps", "200"]
    run = subprocess.run(
        [sys.executable, "-m", "tdb", "--nx", "--batch", "-x", str(tour), *recipe],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    typed = [line for line in tour.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert [line[6:] for line in run.stdout.splitlines() if line.startswith("(tdb) ")] == typed
    drawn = [line for line in run.stdout.splitlines() if line.startswith("tdb-figures/")]
    assert drawn
    for line in drawn:
        assert (tmp_path / line).read_bytes().startswith(b"\x89PNG")
