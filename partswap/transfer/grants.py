"""From a wish to layers: what to do where source or target do not show a part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from partswap.errors import PartswapError
from partswap.transfer.layers import Layer, doubted, part_layers, rendered_layer
from partswap.transfer.plan import Wish, mirror_name, presence
from partswap.transfer.render import in_own_colour

if TYPE_CHECKING:
    from partswap.transfer.pair import Options, Pair

__all__ = ["Grants"]

_DOUBT = 0.01  # share of a part: where less of it is in doubt, the renderer need not run


class Grants:
    """Grants the wishes of one transfer, and remembers what was missing.

    missing: {"part", "from": "source" or "target", "filled_by": "mirror",
    "renderer" or "nothing"} for each.
    """

    def __init__(self, pair: Pair, options: Options, asked: list[Wish], picky: bool) -> None:
        """picky: a part that the source does not show at all is an error, not a note, and one that it hardly
        shows is rendered."""
        self.pair, self.options, self.picky = pair, options, picky
        self.taken = tuple(sorted({i for wish in asked for i in wish.source}))
        self.missing: list[dict[str, str]] = []
        self._said: dict[tuple[str, str], list[str]] = {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was missing, as sentences for a person."""
        names = {"source": self.pair.source.image.name, "target": self.pair.target.image.name}
        return tuple(
            f"{names[where]} does not show {', '.join(parts)}: {words}"
            for (where, words), parts in self._said.items()
        )

    def layers(self, wish: Wish) -> list[Layer]:
        """The layers that grant a wish; none, with a note, where the target does not show the part.

        Raises PartswapError for a part that nothing of the source can fill.
        """
        source, target = self.pair.subjects
        if presence(target, wish.target) != "shown":
            self._note("target", wish.to, "nothing", "nothing changed there")
            return []
        shown = presence(source, wish.source)
        if shown == "shown":
            return self._warped(wish)
        twin = mirror_name(self.pair.parts, wish.name)
        if twin and presence(source, twin) == "shown":
            self._note("source", wish.name, "mirror", "the other side was mirrored")
            return self._warped(Wish(wish.name, wish.to, twin, wish.target), flipped=True)
        # who asks for "all" wants what the source shows, not a guess at the legs of a half-length portrait
        layers = self._rendered(wish) if shown == "trace" and self.picky else []
        if layers:
            self._note("source", wish.name, "renderer", "it was rendered")
        elif self.picky:
            name = self.pair.source.image.name
            raise PartswapError(f"{name} does not show {wish.name}: choose other parts or another source")
        else:
            self._note("source", wish.name, "nothing", "nothing changed there")
        return layers

    def _warped(self, wish: Wish, flipped: bool = False) -> list[Layer]:
        pair = self.pair
        route = pair.route(wish, flipped)
        with pair.clock("warp"):
            ids = (wish.source, wish.target)
            taken = wish.source if flipped else self.taken
            layers = part_layers(wish.to, ids, pair.subjects, route, taken, self.options.seed)
        if route.doubt(wish.target) < _DOUBT:
            return layers
        picture = self._painted(wish)
        return layers if picture is None else doubted(layers, route, pair.subjects[1], picture)

    def _rendered(self, wish: Wish) -> list[Layer]:
        picture = self._painted(wish)
        if picture is None:
            return []
        return [rendered_layer(wish.to, wish.target, self.pair.subjects[1], picture)]

    def _painted(self, wish: Wish) -> np.ndarray | None:
        """The renderer's picture for one part, in the colour that this has in the source."""
        picture = self.pair.rendered(wish)
        if picture is None:
            return None
        return in_own_colour(picture, (wish.source, wish.target), self.pair.subjects)

    def _note(self, where: str, part: str, filler: str, words: str) -> None:
        self._said.setdefault((where, words), []).append(part)
        self.missing.append({"part": part, "from": where, "filled_by": filler})
