"""A checkpoint's tensors into its nets, strictly: every name and every shape must fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from partswap.errors import ModelError, PartswapError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from partswap.checkpoint import Checkpoint
    from partswap.nets.renderer import Renderer
    from partswap.nets.segmenter import Segmenter

__all__ = ["load_renderer", "load_student", "load_tensors"]

_COUNTER = "num_batches_tracked"
Net = TypeVar("Net", bound="nn.Module")


def load_student(checkpoint: Checkpoint) -> Segmenter:
    """The student on the CPU, float32, in eval mode. Raises ModelError, naming the tensors that do not
    fit."""
    from partswap.nets.build import build_student

    return _load(checkpoint, "student", build_student, checkpoint.config.student)


def load_renderer(checkpoint: Checkpoint) -> Renderer | None:
    """The renderer on the CPU, float32, in eval mode; None if the checkpoint has none. Raises as
    load_student."""
    if checkpoint.config.renderer is None:
        return None
    from partswap.nets.build import build_renderer

    return _load(checkpoint, "renderer", build_renderer, checkpoint.config.renderer)


def load_tensors(net: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put `tensors` into `net`, which may lie on the meta device; ModelError unless names and shapes all
    match.

    Counters of batch normalisation may be missing: only training uses them, and checkpoints leave them out.
    """
    import torch

    wanted = net.state_dict()
    counters = {name: torch.zeros((), dtype=torch.long) for name in wanted if name.endswith(_COUNTER)}
    tensors = {**counters, **tensors}
    missing = [name for name in wanted if name not in tensors]
    foreign = [name for name in tensors if name not in wanted]
    misfit = [
        f"{name} is {_kind(tensors[name])} where {_kind(wanted[name])} belongs"
        for name in wanted
        if name in tensors and _kind(tensors[name]) != _kind(wanted[name])
    ]
    problems = [
        f"{title} {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        for title, names in (("missing:", missing), ("unknown:", foreign), ("of another kind:", misfit))
        if names
    ]
    if problems:
        raise ModelError(
            f"{where} does not fit the nets that its config.json describes; {'; '.join(problems)}"
        )
    net.load_state_dict(dict(tensors), strict=True, assign=True)


def _load(
    checkpoint: Checkpoint, which: str, build: Callable[[Mapping[str, Any]], Net], config: Mapping[str, Any]
) -> Net:
    net = _on_meta(build, config, which)
    load_tensors(net, checkpoint.tensors(f"{which}."), str(checkpoint.weights))
    if any(tensor.is_meta for tensor in (*net.parameters(), *net.buffers())):
        # Some encoders keep constants that are not in the state dict. The shapes are known to be right by
        # now.
        net = build(config)
        load_tensors(net, checkpoint.tensors(f"{which}."), str(checkpoint.weights))
    return net.eval()


def _on_meta(build: Callable[[Mapping[str, Any]], Net], config: Mapping[str, Any], which: str) -> Net:
    """The net without memory behind it: no random numbers are drawn for weights that are replaced at once,
    and a configuration that asks for enormous layers is found out before they are allocated."""
    import torch

    try:
        with torch.device("meta"):
            return build(config)
    except PartswapError as error:
        raise ModelError(f"config.json: the {which} cannot be built: {error}") from error
    except Exception as error:  # timm has a thousand constructors, and they raise what they like
        raise ModelError(
            f"config.json: the {which} cannot be built ({type(error).__name__}: {str(error)[:120]})"
        ) from error


def _kind(tensor: Tensor) -> str:
    """Shape, and whether these are weights at all: whole numbers cannot stand where weights belong."""
    kind = "" if tensor.is_floating_point() else "whole numbers "
    return kind + ("x".join(str(side) for side in tensor.shape) or "a single number")
