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
        f"{name} is {_shape(tensors[name])} where {_shape(wanted[name])} belongs"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    problems = [
        f"{title} {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        for title, names in (("missing:", missing), ("unknown:", foreign), ("of a wrong shape:", misfit))
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
    tensors = checkpoint.tensors(f"{which}.")
    net = _on_meta(build, config)
    if net is None:
        net = _build(build, config, which)
    load_tensors(net, tensors, str(checkpoint.weights))
    if any(tensor.is_meta for tensor in (*net.parameters(), *net.buffers())):
        # Some encoders keep constants that are not in the state dict. The shapes are known to be right by
        # now.
        net = _build(build, config, which)
        load_tensors(net, tensors, str(checkpoint.weights))
    return net.eval()


def _on_meta(build: Callable[[Mapping[str, Any]], Net], config: Mapping[str, Any]) -> Net | None:
    """The net without memory behind it: no random numbers are drawn for weights that are replaced at once,
    and a configuration that asks for enormous layers is found out before they are allocated. None if it
    cannot be built so.
    """
    import torch

    try:
        with torch.device("meta"):
            return build(config)
    except Exception:  # a constructor that computes with its own tensors; the real build says what is wrong
        return None


def _build(build: Callable[[Mapping[str, Any]], Net], config: Mapping[str, Any], which: str) -> Net:
    try:
        return build(config)
    except PartswapError as error:
        raise ModelError(f"config.json: the {which} cannot be built: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"config.json: the {which} cannot be built ({type(error).__name__}: {str(error)[:120]})"
        ) from error


def _shape(tensor: Tensor) -> str:
    return "x".join(str(side) for side in tensor.shape) or "a single number"
