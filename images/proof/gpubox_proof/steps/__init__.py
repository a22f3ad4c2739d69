"""The steps. Each is a function without arguments that returns what it saw, or fails: with `Wrong` and a
sentence, or with whatever the framework raises. Frameworks are imported inside, so that one that is broken
breaks its own row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..failure import Wrong


def must_fall(losses: Sequence[float], to: float = 0.5) -> None:
    """Training worked: the last loss is at most so much of the first."""
    first, last = float(losses[0]), float(losses[-1])
    if not last <= to * first:  # also where it is not a number
        steps = len(losses)
        raise Wrong(f"Training does not work: the loss went from {first:.4g} to {last:.4g} in {steps} steps.")


def must_equal(got: Any, reference: Any, what: str, tolerance: float = 1e-4) -> None:
    """A result is, up to rounding, what NumPy computes."""
    import numpy as np

    got, reference = np.asarray(got), np.asarray(reference)
    if got.shape != reference.shape:
        raise Wrong(f"{what} has the shape {got.shape} where NumPy's has {reference.shape}.")
    if not np.allclose(got, reference, rtol=tolerance, atol=tolerance):
        raise Wrong(f"{what} differs from NumPy's by up to {float(np.max(np.abs(got - reference))):.3g}.")
