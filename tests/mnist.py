"""Where a copy of the full MNIST may lie beside the project, which itself needs none."""

from __future__ import annotations

from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
HAS_MNIST = (SHARED / "MNIST").is_dir()
