"""What is said of limbs."""

from __future__ import annotations

import re

import pytest

from partswap.errors import UsageError
from partswap.parts import Parts
from partswap.training.limbs import Limb, parse_limbs


def test_limbs_are_named_as_parts_are() -> None:
    parts = Parts.default(4).renamed({1: "chest", 2: "arm", 3: "hand", 4: "arm"})
    assert parse_limbs("arm+hand=180, 1", parts) == (Limb((2, 3, 4), 180.0), Limb((1,), 120.0))
    assert parse_limbs("3=60:up", parts) == (Limb((3,), 60.0, stands=True),)
    assert parse_limbs("arm=0", parts) == (Limb((2, 4), 0.0),)
    assert parse_limbs("arm=90:dressed,3:dressed", parts) == (
        Limb((2, 4), 90.0, dressed=True),
        Limb((3,), 120.0, dressed=True),
    )
    assert parse_limbs("3=60:up:dressed", parts) == (Limb((3,), 60.0, stands=True, dressed=True),)
    assert parse_limbs("arm=0:before=chest+3", parts) == (Limb((2, 4), 0.0, before=(1, 3)),)
    assert parse_limbs("arm:before=1:up", parts) == (Limb((2, 4), 120.0, stands=True, before=(1,)),)
    assert parse_limbs("arm:never=1+3:before=1", parts) == (Limb((2, 4), 120.0, before=(1,), never=(1, 3)),)
    told = parse_limbs("arm:bare=3:before=1:never=3", parts)
    assert told == (Limb((2, 4), 120.0, before=(1,), bare=(3,), never=(3,)),)
    once = parse_limbs("hand:once=arm+chest", parts)
    assert once == (Limb((3,), 120.0, once=((2, 4), (1,))),)
    over = parse_limbs("hand=0:over=arm+chest:before=1", parts)
    assert over == (Limb((3,), 0.0, before=(1,), over=(1, 2, 4)),)
    assert parse_limbs("", parts) == ()
    behind = ("arm:before=arm", "arm:before=", "arm:before", "arm:before=1:before=3", "arm:dressed:before=1")
    assert len(parse_limbs(",".join(["arm"] * 16), parts)) == 16
    with pytest.raises(UsageError, match="17 limbs"):
        parse_limbs(",".join(["arm"] * 17), parts)
    midst = ("arm:never=arm", "arm:never=", "arm:never=1:never=3", "arm:dressed:never=1")
    bare = ("arm:bare=3", "arm:before=1:bare=1", "arm:before=1:bare=arm", "arm:before=1:bare=3:bare=3")
    twice = (
        "arm:over=arm",
        "arm:dressed:over=1",
        "arm:once=arm",
        "arm:once=",
        "arm:once=1+chest",
        "arm:once=1:once=3",
        "arm:dressed:once=1",
    )
    undressed = "arm:before=1:bare=3:dressed"
    bad = ("arm:dressed=60", "arm=0:dressed", "arm=60:down", undressed, *behind, *midst, *bare, *twice)
    for word in ("arm:once=wing", "arm:before=chest+", "wing=20"):
        with pytest.raises(UsageError, match=re.escape(f"--limbs: '{word}'")):
            parse_limbs(word, parts)
    for wrong in (*bad, "arm=-1", "arm=200", "arm=far", "wing", "=90", ":up", "=90:up"):
        with pytest.raises(UsageError):
            parse_limbs(wrong, parts)
