"""What a training run can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from partswap.discovery.terms import Terms
from partswap.errors import DeviceError, UsageError

DEFAULT_STEPS = 3000
PRECISIONS = ("auto", "fp32", "bf16")
MINUTES_TO_DISCOVERY = 0.4
"""Of a time budget, the share of stage 1; the rest goes to the rounds of stage 2."""


@dataclass(frozen=True)
class TrainOptions:
    """Options of ``partswap train``, as documented there.

    Attributes:
        data: folder tree of photos; out: folder of the run (``out/model`` is the checkpoint).
        size: (H, W) of the training frame, multiples of 32; steps: of discovery; distill_steps: of each round
            of distillation.
        minutes: a time budget instead of steps; rounds: of distillation, each learning from the one before.
        view_size: (H, W) about which the views of distillation have, multiples of 32; None: as ``size``.
        regroup: for a refined model, discover its parts again first.
        keep: of a refined model, the share of the weights that it had before.
        limbs: of a refined model, its kinds of limbs, which look alike and are moved about in some views
            (:func:`partswap.training.limbs.parse_limbs`).
        teacher: of a refined model, FOLDER=MODEL, an earlier model that the photos in a folder of ``data``
            learn from (:func:`partswap.training.part_maps.parse_teacher`); the others believe their masks
            where these differ widely from what the model sees.
        near: of a refined model, FILE:1+2=head, what its parts are found to be from near
            (:func:`partswap.distillation.near_file.parse_near`).
        cross_check: of a refined model, take for background what is foreground while a classifier of frozen
            features, fitted on other photos, is sure it is not (:mod:`partswap.training.cross_check`).
        upright: of a refined model, leave open the parts of whoever is not upright, in photos that no
            ``teacher`` knows (:func:`partswap.training.part_maps.own_part_maps`).
        plain: of a refined model, end its training on photos nearly as they come, but for one view in four
            from near and, where limbs turn, one in eight of who stands in another pose; those that it sees
            otherwise than their part maps come more often (:mod:`partswap.distillation.differing`).
        row, without: terms of the objective (see partswap.discovery.terms).
        save_seconds: at most this much of a run is lost when it is killed.
    """

    data: Path
    out: Path
    masks: Path | None = None
    pairs: Path | None = None
    group_by_folder: bool = False
    parts: int = 16
    size: tuple[int, int] = (256, 192)
    backbone: str = "tf_efficientnet_lite0"
    pretrained: str = "auto"
    steps: int = DEFAULT_STEPS
    distill_steps: int = DEFAULT_STEPS
    minutes: float | None = None
    rounds: int = 2
    batch: int = 64
    rate: float = 1.5e-3
    mirror: bool = True
    view_size: tuple[int, int] | None = None
    regroup: bool = False
    keep: float = 0.0
    limbs: str = ""
    teacher: str = ""
    near: str = ""
    cross_check: bool = False
    upright: bool = False
    plain: bool = False
    row: str = "full"
    without: tuple[str, ...] = field(default=())
    resume: bool = False
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    seed: int = 0
    workers: int = 4
    name: str = "model"
    quiet: bool = False
    save_seconds: float = 120.0

    def check(self) -> None:
        """Raises UsageError for values that cannot work."""
        if not 2 <= self.parts <= 64:
            raise UsageError(f"--parts must be between 2 and 64, not {self.parts}.")
        for name, size in (("--size", self.size), ("--view-size", self.view_size or self.size)):
            check_size(name, size)
        counts = (self.steps, self.distill_steps, self.batch, self.rounds)
        amounts = (self.rate, self.save_seconds, 1.0 if self.minutes is None else self.minutes)
        if min(counts) < 1 or not all(0 < a < float("inf") for a in amounts):
            raise UsageError(
                "--steps, --distill-steps, --rounds, --batch, --rate, --minutes and --save-every "
                "must be positive."
            )
        if not -(2**63) <= self.seed < 2**63:
            raise UsageError("--seed must be a whole number of at most 63 bits.")
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision is one of {', '.join(PRECISIONS)}, not '{self.precision}'.")
        Terms.parse(self.row, self.without)
        if self.batch < 4:
            raise UsageError("--batch must be at least 4: parts are compared between the photos of a batch.")
        if not 0 <= self.keep < 1:
            raise UsageError(f"--keep is a share of at least 0 and below 1, not {self.keep}.")
        if self.regroup and self.limbs:
            raise UsageError(
                "--limbs names parts that --regroup is about to discover again; name the new ones first, and "
                "give --limbs to a further --refine."
            )
        if self.regroup and (self.teacher or self.near):
            raise UsageError(
                "--regroup discovers parts again, which no teacher and no --near knows; leave those out."
            )
        if self.regroup and self.upright:
            raise UsageError(
                "--upright doubts parts as the model sees them, which --regroup does not ask; leave one out."
            )
        if self.cross_check and self.pretrained == "none":
            raise UsageError(
                "--cross-check asks ImageNet features, which --pretrained none leaves out; "
                "give --pretrained auto, or a file."
            )
        if self.pairs is not None and self.group_by_folder:
            raise UsageError(
                "--pairs and --group-by both say which photos belong together; give one of them."
            )

    def fingerprint(self) -> dict[str, Any]:
        """What a resumed run must repeat, as JSON values; folders and hardware may change."""
        same = (
            "parts",
            "backbone",
            "steps",
            "distill_steps",
            "minutes",
            "rounds",
            "batch",
            "rate",
            "mirror",
            "regroup",
            "keep",
            "limbs",
            "cross_check",
            "upright",
            "plain",
            "row",
            "seed",
        )
        found: dict[str, Any] = {k: getattr(self, k) for k in same}
        return {
            **found,
            "teacher": self.teacher.partition("=")[0],
            "near": self.near.rpartition(":")[2],
            "size": list(self.size),
            "view_size": list(self.view_size or self.size),
            "without": list(self.without),
            "masks": self.masks is not None,
            "pretrained": self.pretrained
            if self.pretrained in ("auto", "none")
            else Path(self.pretrained).name,
            "pairs": None if self.pairs is None else self.pairs.name,
            "group_by": "folder" if self.group_by_folder else None,
        }


def check_size(name: str, size: tuple[int, int]) -> None:
    """Raises UsageError for a frame (H, W) that the nets cannot see, or that is absurd."""
    if any(s % 32 or not 64 <= s <= 1024 for s in size):
        raise UsageError(f"{name} must be two multiples of 32 between 64 and 1024, not {size[0]}x{size[1]}.")


def parse_size(text: str) -> tuple[int, int]:
    """``HxW`` -> (H, W), both rounded up to multiples of 32; raises UsageError."""
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise UsageError(f"--size is HEIGHTxWIDTH in pixels, such as 256x192, not '{text}'.")
    return -(-int(height) // 32) * 32, -(-int(width) // 32) * 32


def training_device(choice: str) -> str:
    """``auto`` -> cuda where it is, else cpu; a CUDA device that was asked for and is not there raises
    DeviceError."""
    import torch

    if choice == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if choice.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(
            "CUDA was asked for, but PyTorch sees no GPU here; "
            "install a CUDA build of torch and a driver, or give --device cpu."
        )
    if choice != "cpu" and not choice.startswith("cuda"):
        raise DeviceError(f"--device is auto, cpu, cuda or cuda:N, not '{choice}'.")
    return choice
