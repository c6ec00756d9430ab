"""ImageNet weights for an encoder: from a safetensors file in timm's naming, or fetched by timm."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from partswap.errors import ModelError
from partswap.nets.encoder import Encoder


def _from_file(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        raise ModelError(
            f"{path} is not a .safetensors file; pickled weights are refused, convert them first."
        )
    try:
        return load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the pretrained weights {path} cannot be read: {error}.") from error


def _from_timm(backbone: str) -> dict[str, Tensor]:
    import timm

    try:
        return timm.create_model(backbone, pretrained=True).state_dict()
    except Exception as error:  # whatever the network or the hub raises, the mend is the same
        raise ModelError(
            f"timm could not fetch ImageNet weights for '{backbone}' ({type(error).__name__}); "
            "give a file with --pretrained FILE.safetensors, or train from nothing with --pretrained none."
        ) from error


def pretrained_weights(choice: str, backbone: str) -> dict[str, Tensor] | None:
    """``choice``: "auto" (timm fetches them), "none", or the path of a safetensors file in timm's naming."""
    if choice == "none":
        return None
    return _from_timm(backbone) if choice == "auto" else _from_file(Path(choice))


def load_into(encoder: Encoder, weights: dict[str, Tensor] | None) -> None:
    """Fill an encoder; weights that it has no use for (the classifier) are left out, but none that it needs
    may be missing.

    Raises:
        ModelError: the weights belong to another encoder.
    """
    if weights is None:
        return
    own = encoder.body.state_dict()
    given = {k: v for k, v in weights.items() if k in own}
    missing = [k for k in own if k not in given and not k.endswith("num_batches_tracked")]
    wrong = [k for k, v in given.items() if own[k].shape != v.shape]
    if missing or wrong:
        raise ModelError(
            f"the pretrained weights do not fit the encoder: {len(missing)} tensors missing, {len(wrong)} of "
            f"another shape (first: {(missing + wrong)[0]}); check --pretrained against --backbone, or "
            "against the model that --refine names."
        )
    encoder.body.load_state_dict({**own, **given}, strict=True)
