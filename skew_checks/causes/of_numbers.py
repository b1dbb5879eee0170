"""The right value of the right row, after something was done to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skew_checks.causes.case import LEAST_DIFFERENT, Case, Seen, different, is_told_by, share_told
from skew_checks.judging.compare import ABSOLUTE, FLOAT32, FLOAT64, Mask
from skew_checks.replay.event_times import Floats

THOUSANDTH = 1e-3
PAST = 1e-6
"""Relative: further than that is beyond a limit."""
LEAST_HEALTHY = 20
USUAL_FACTORS = tuple(
    factor**power
    for factor in (100.0, 1000.0, 1e6, 1e9, 60.0, 1024.0, 1440.0, 3600.0, 86_400.0)
    for power in (1, -1)
)
Change = Callable[[Floats], Floats]


def _wrapped(bits: int) -> Change:
    half = 2.0 ** (bits - 1)
    return lambda values: np.floor(values + half) % (2 * half) - half


def _unsigned(bits: int) -> Change:
    return lambda values: np.floor(values) % 2.0**bits


def _bfloat16(values: Floats) -> Floats:
    bits = values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(np.float64)


ROUNDINGS: dict[str, Change] = {
    "float16": lambda values: values.astype(np.float16).astype(np.float64),
    "float32": lambda values: values.astype(np.float32).astype(np.float64),
    "bfloat16": _bfloat16,
    "a whole number, cut off": np.trunc,
    "a whole number, rounded": np.rint,
    "two decimals": lambda values: np.round(values, 2),
    "three decimals": lambda values: np.round(values, 3),
    "a signed byte": _wrapped(8),
    "a signed 16-bit integer": _wrapped(16),
    "a signed 32-bit integer": _wrapped(32),
    "an unsigned byte": _unsigned(8),
    "an unsigned 16-bit integer": _unsigned(16),
}
CURVES: dict[str, Change] = {
    "log(1 + x)": np.log1p,
    "log(x)": np.log,
    "log2(x)": np.log2,
    "log10(x)": np.log10,
    "exp(x) - 1": np.expm1,
    "exp(x)": np.exp,
    "the square root": np.sqrt,
    "the square": np.square,
    "1 - x": lambda values: 1 - values,
}


def precision(case: Case) -> Seen | None:
    """Rounding or wrap-around of the right value."""
    return _best(case, ROUNDINGS, "the right value through {}")


def unit(case: Case) -> Seen | None:
    """A factor, a difference or a curve that all have in common."""
    if not case.is_number:
        return None
    seen = [_factor(case), _difference(case), _best(case, CURVES, "{} of the right value")]
    return max((each for each in seen if each), key=lambda each: int(each.mask.sum()), default=None)


def clipping(case: Case) -> Seen | None:
    """One value in place of all beyond it; nothing served is beyond."""
    if not case.is_number or not case.value_rows.any():
        return None
    served, right = case.numbers
    values, counts = np.unique(served[case.value_rows], return_counts=True)
    cap = float(values[counts.argmax()])
    for is_beyond, name in ((right > cap, "above"), (right < cap, "below")):
        mask = case.value_rows & (served == cap) & is_beyond
        if different(right[mask]) < LEAST_DIFFERENT or mask.sum() * 2 <= case.value_rows.sum():
            continue
        healthy = np.asarray(case.evidence.pair(case.subject)[0], np.float64)[case.every]
        healthy = healthy[~np.isnan(healthy)]
        past = (
            healthy > cap * (1 + np.sign(cap) * PAST)
            if name == "above"
            else healthy < cap * (1 - np.sign(cap) * PAST)
        )
        if len(healthy) >= LEAST_HEALTHY and past.mean() > 1e-3:
            continue
        return Seen(mask, (f"{cap:.6g} stands for all that is {name} it in {share_told(mask)} mismatches",))
    return None


def _factor(case: Case) -> Seen | None:
    served, right = case.numbers
    rows = case.value_rows & (right != 0) & (served != 0)
    if not rows.any():
        return None
    factor = float(np.median(served[rows] / right[rows]))
    mask = rows & _explained(case, factor * right)
    if different(right[mask]) < LEAST_DIFFERENT:
        mask, factor = _usual_factor(case, rows, factor)
    if not mask.any():
        return None
    return Seen(mask, (f"served = {factor:.6g} x offline in {share_told(mask)} mismatches",))


def _usual_factor(case: Case, rows: Mask, factor: float) -> tuple[Mask, float]:
    """Any two values have a ratio: over few of them only one that units have counts, and only to the last digit."""
    nearest = min(USUAL_FACTORS, key=lambda usual: abs(usual / factor - 1))
    mask = rows & _explained(case, nearest * case.numbers[1], slack=0.0)
    return (mask if is_told_by(case, mask) else np.zeros(len(mask), bool)), nearest


def _difference(case: Case) -> Seen | None:
    served, right = case.numbers
    rows = case.value_rows
    if not rows.any():
        return None
    step = float(np.median((served - right)[rows]))
    mask = rows & _explained(case, right + step)
    if different(right[mask]) < LEAST_DIFFERENT:
        return None
    return Seen(mask, (f"served = offline {step:+.6g} in {share_told(mask)} mismatches",))


def _best(case: Case, changes: dict[str, Change], told: str) -> Seen | None:
    """The change that makes the served values of most right ones; over few different ones to the last digit."""
    if not case.is_number or not case.value_rows.any():
        return None
    right = case.numbers[1]
    best, best_name = np.zeros(len(case), bool), ""
    for name, change in changes.items():
        with np.errstate(all="ignore"):
            changed = change(right)
        mask = case.value_rows & _explained(case, changed)
        if different(right[mask]) < LEAST_DIFFERENT:
            mask = case.value_rows & _explained(case, changed, slack=0.0)
        if mask.sum() > best.sum() and is_told_by(case, mask):
            best, best_name = mask, name
    if not best.any():
        return None
    return Seen(best, (f"served is {told.format(best_name)} in {share_told(best)} mismatches",))


def _explained(case: Case, expected: Floats, *, slack: float = THOUSANDTH) -> Mask:
    """bool: where `expected` is the served value, but for `slack` of its difference and the type's last digits."""
    served, right = case.numbers
    last_digit = (
        FLOAT64 if case.field.value_type == "DOUBLE" and not case.subject.is_model_column else FLOAT32
    )
    with np.errstate(invalid="ignore", over="ignore"):
        room = ABSOLUTE + slack * np.abs(served - right) + last_digit * np.abs(served)
        return np.asarray((np.abs(served - expected) <= room) & np.isfinite(room), bool)
