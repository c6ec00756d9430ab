"""What a person says of limbs (``train --limbs``): which parts they are, how they move, where they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain

from partswap.checkpoint.config import MAX_LIMBS
from partswap.errors import UsageError
from partswap.parts import Parts

DEGREES = 120.0
"""How far a limb turns when nothing is said of it."""
UP, DRESSED = "up", "dressed"
"""Said of a limb that stands, and of one that has no one appearance."""
BEFORE, BARE, NEVER, ONCE, OVER = "before=", "bare=", "never=", "once=", "over="
"""Followed by parts: what a limb may lie before, what has its colour then, what it is no island in, what a
body has once, and what pieces of the limb are laid over."""


@dataclass(frozen=True)
class Limb:
    """Which parts make up a kind of limb.

    Attributes:
        parts: their ids, from 1; degrees: how far it turns, 0 where it only shares one appearance
            (:mod:`partswap.distillation.appearances`); stands: it is one and stands on the body, as a
            head does, and turns to either side; else there is one on each side, which hangs and bends;
            dressed: it has no one appearance, as a leg in shorts and shoes has none, and is only moved;
            before: ids of what it may lie before, and is known by its bare colour
            (:mod:`partswap.crossings`); bare: ids of what has that colour too, if that was said; never: ids
            of what is taken for it at times, in whose midst it never lies (:mod:`partswap.islands`); once: of
            what a body has once, so that a further piece of it within the limb is none; over: of what pieces
            of it are laid over in some views (:mod:`partswap.distillation.laid`).
    """

    parts: tuple[int, ...]
    degrees: float
    stands: bool = False
    dressed: bool = False
    before: tuple[int, ...] = ()
    bare: tuple[int, ...] = ()
    never: tuple[int, ...] = ()
    once: tuple[tuple[int, ...], ...] = ()
    over: tuple[int, ...] = ()

    @property
    def sides(self) -> tuple[float, ...]:
        """Of :func:`find_limb`, one for each that a body has."""
        return (0.0,) if self.stands else (-1.0, 1.0)


def parse_limbs(text: str, parts: Parts) -> tuple[Limb, ...]:
    """``arm+hand=180:before=chest+hip:bare=neck,leg+foot:dressed,head=60:up`` -> limbs, by the names or ids
    of ``parts``; raises UsageError.

    ``:up`` is said of one that stands, ``:dressed`` of one that has no one appearance, ``:before=PARTS`` of
    one that may lie before others, ``:bare=PARTS`` of what has its colour then, ``:never=PARTS`` of one that
    is no island in them, ``:once=PARTS`` of what a body has once, one for each name, ``:over=PARTS`` of what
    pieces of it are laid over in some views.
    """
    limbs = tuple(_parse_limb(word.strip(), parts) for word in text.split(",") if word.strip())
    if len(limbs) > MAX_LIMBS:
        raise UsageError(f"--limbs: {len(limbs)} limbs are more than the {MAX_LIMBS} that a model remembers.")
    return limbs


def _parse_limb(word: str, parts: Parts) -> Limb:
    """One word of :func:`parse_limbs`; raises UsageError."""
    plain, *said = word.split(":")
    names, _, degrees = plain.partition("=")
    try:
        turn = float(degrees or DEGREES)
    except ValueError:
        turn = math.nan
    if not 0 <= turn <= 180:
        raise UsageError(f"--limbs: '{word}' must turn by 0 to 180 degrees, such as arm+hand=180.")
    keys = (BEFORE, BARE, NEVER, ONCE, OVER)
    named = [[one.removeprefix(key) for one in said if one.startswith(key)] for key in keys]
    unknown = [one for one in said if one not in (UP, DRESSED) and not one.startswith(keys)]
    if unknown or max(map(len, named)) > 1:
        raise UsageError(
            f"--limbs: '{word}' may have :up, :dressed, and one each of :before=PARTS, :bare=PARTS, "
            ":never=PARTS, :once=PARTS and :over=PARTS after its degrees."
        )
    if DRESSED in said and (any(named) or not turn):
        raise UsageError(
            f"--limbs: '{word}' has no one appearance: it must turn, and has no :before, :bare, :never, "
            ":once or :over."
        )
    try:
        own = parts.parse(names.split("+"))
        before, bare, never, each, over = (
            [parts.parse(name) for name in some[0].split("+")] if some else [] for some in named
        )
    except UsageError as error:
        raise UsageError(f"--limbs: '{word}': {error}") from error
    others = [frozenset(chain(*some)) for some in (before, bare, never, each, over)]
    if any(some & set(own) for some in others):
        raise UsageError(f"--limbs: '{word}' says something of the limb's own parts; name others.")
    if bare and (not before or others[0] & others[1]):
        raise UsageError(f"--limbs: '{word}': :bare is said of other parts than :before, and needs it.")
    if len(others[3]) != sum(map(len, each)):
        raise UsageError(f"--limbs: '{word}' says :once of a part twice.")
    lies, told, islands, _, below = (tuple(sorted(some)) for some in others)
    return Limb(own, turn, UP in said, DRESSED in said, lies, told, islands, tuple(each), below)
