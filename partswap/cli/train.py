"""`partswap train`: a folder of photos in, a model out."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from partswap.cli.options import QuietOption

__all__ = ["train_command"]


class GroupBy(str, Enum):
    """What says that photos show the same thing."""

    folder = "folder"


def train_command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of photos; sub-folders are read too.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the run; DIR/model is the result.")
    ] = Path("run"),
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks", metavar="DIR", help="Foreground masks, named like the photos. Default: estimated."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs", metavar="FILE.csv", help="Columns group,file: photos of a group show the same thing."
        ),
    ] = None,
    group_by: Annotated[
        GroupBy | None, typer.Option("--group-by", help="Photos in one folder show the same thing.")
    ] = None,
    parts: Annotated[
        int, typer.Option("--parts", "-k", metavar="K", help="How many parts to discover.")
    ] = 16,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="HxW",
            help="Training frame, rounded up to multiples of 32; 256x192, with --refine the model's.",
            show_default=False,
        ),
    ] = None,
    view_size: Annotated[
        str | None,
        typer.Option(
            "--view-size",
            metavar="HxW",
            help="About the size of the views in distillation. Default: --size.",
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option("--backbone", metavar="NAME", help="A timm encoder.")
    ] = "tf_efficientnet_lite0",
    pretrained: Annotated[
        str,
        typer.Option(
            "--pretrained",
            metavar="WHAT",
            help="auto (timm fetches ImageNet weights), none, or FILE.safetensors.",
        ),
    ] = "auto",
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Steps of discovery.")] = 3000,
    distill_steps: Annotated[
        int | None,
        typer.Option(
            "--distill-steps", metavar="N", help="Steps of each round of distillation. Default: as --steps."
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", metavar="M", help="A time budget for all stages, instead of steps."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", help="Rounds of distillation.")] = 2,
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Photos a step.")] = 64,
    rate: Annotated[float, typer.Option("--rate", metavar="LR", help="Learning rate.")] = 1.5e-3,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror/--no-mirror", help="Mirror images share parts: a left and a right arm are one part."
        ),
    ] = True,
    terms: Annotated[
        str,
        typer.Option(
            "--terms",
            metavar="ROW",
            help="Row of the paper's ablation: none, var+adv, var+adv+gmrf, var+gmrf+entropy, full.",
        ),
    ] = "full",
    without: Annotated[
        str,
        typer.Option(
            "--without",
            metavar="TERMS",
            help="Terms to leave out: equivariance,contrast,balance,anchoring,perceptual, …",
        ),
    ] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Name of the model, for its card.")
    ] = "model",
    refine_model: Annotated[
        str | None,
        typer.Option(
            "--refine",
            metavar="MODEL",
            help="Go on with a finished model: one more round of distillation from its own part maps.",
            show_default=False,
        ),
    ] = None,
    regroup: Annotated[
        bool,
        typer.Option("--regroup", help="With --refine: discover the parts again, in what the model sees."),
    ] = False,
    keep: Annotated[
        float,
        typer.Option(
            "--keep",
            metavar="SHARE",
            help="With --refine: average the result with the model it started from, which counts this much.",
        ),
    ] = 0.0,
    limbs: Annotated[
        str,
        typer.Option(
            "--limbs",
            metavar="PARTS",
            help="With --refine: parts that make up limbs, such as "
            "arm+hand=180:before=chest+hip,leg+foot=100:dressed (degrees by which they turn, 0 not at all). "
            "A limb has one appearance in a photo; some views show it moved, or in a painted sleeve. After "
            "its degrees, :before=PARTS is a limb that, where it is bare, may lie before these parts, "
            ":bare=PARTS what has its colour then (`segment` looks for both, too), "
            ":once=PARTS what a body has once (a further piece within the limb is the limb), "
            ":over=PARTS what pieces of it are laid over in some views, "
            ":never=PARTS one that is not found in the midst of these, :dressed one that has no one "
            "appearance and only moves, :up one that stands on the body, as a head does.",
            show_default=False,
        ),
    ] = "",
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            metavar="FOLDER=MODEL",
            help="With --refine: photos in this folder of DATA learn from the part maps of an earlier model, "
            "so that what it knows of them is not lost while the others change. These believe their "
            "--masks where they differ widely from what the model sees.",
            show_default=False,
        ),
    ] = "",
    near: Annotated[
        str,
        typer.Option(
            "--near",
            metavar="FILE:1+2=NAME,3=NAME",
            help="With --refine: parts are drawn anew as they look from near: what `partswap parts near` "
            "found, and the name of a part for each of its numbers.",
            show_default=False,
        ),
    ] = "",
    cross_check: Annotated[
        bool,
        typer.Option(
            "--cross-check",
            help="With --refine: foreground such as a weight in a hand or a mat becomes background where a "
            "small classifier of ImageNet features (--pretrained), fitted on other photos, is sure of it. "
            "A photo that would lose more than a quarter stays as it is, as do those that a --teacher knows.",
        ),
    ] = False,
    upright: Annotated[
        bool,
        typer.Option(
            "--upright",
            help="With --refine: what the model sees of parts is believed of who is upright only (nearly "
            "twice as high as wide), or in photos that a --teacher knows. Of all others it learns what is "
            "foreground, and other poses from views where --limbs turn: for a model that errs in them.",
        ),
    ] = False,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="With --refine: a last round on photos as they come or nearly so, but for one view in four "
            "from near, and one in eight of who stands in another pose where --limbs turn; photos that the "
            "model sees otherwise than their part maps come more often. The encoder's fine layers and all "
            "statistics stay, so small batches (8) do well. Give it the --size that `segment` sees, 320x224 "
            "for tall photos and the usual model.",
        ),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda or cuda:1.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option("--precision", metavar="P", help="auto (bf16 on CUDA), fp32 or bf16.")
    ] = "auto",
    compile_nets: Annotated[
        bool,
        typer.Option(
            "--compile/--no-compile", help="Compile the networks: pays from some thousand steps on CUDA."
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="On CPU the same seed gives the same weights.")
    ] = 0,
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="Threads that read photos.")] = 4,
    save_every: Annotated[
        float,
        typer.Option(
            "--save-every", metavar="SECONDS", help="How often the state is saved: what a kill can cost."
        ),
    ] = 120.0,
    quiet: QuietOption = False,
) -> None:
    """Learn the parts of whatever a folder of unlabelled photos shows.

    Discovery pulls shape and appearance apart until parts appear; distillation makes a fast segmenter of
    them. Stopping it in any way loses at most what --save-every allows: the same command with --resume goes
    on.
    """
    from partswap.errors import UsageError
    from partswap.training.options import TrainOptions, parse_size
    from partswap.training.stopping import stop_at_once
    from partswap.training.train import train

    asked = (regroup, keep, limbs, teacher, near, cross_check, upright, plain)
    if any(asked) and refine_model is None:
        raise UsageError(
            "--regroup, --keep, --limbs, --teacher, --near, --cross-check, --upright and --plain are for a "
            "finished model; name it with --refine."
        )
    options = TrainOptions(
        data=data,
        out=out,
        masks=masks,
        pairs=pairs,
        group_by_folder=group_by is GroupBy.folder,
        parts=parts,
        size=TrainOptions.size if size is None else parse_size(size),
        backbone=backbone,
        pretrained=pretrained,
        steps=steps,
        distill_steps=steps if distill_steps is None else distill_steps,
        minutes=minutes,
        rounds=rounds,
        batch=batch,
        rate=rate,
        mirror=mirror,
        view_size=None if view_size is None else parse_size(view_size),
        regroup=regroup,
        keep=keep,
        limbs=limbs,
        teacher=teacher,
        near=near,
        cross_check=cross_check,
        upright=upright,
        plain=plain,
        row=terms,
        without=tuple(t.strip() for t in without.split(",") if t.strip()),
        resume=resume,
        device=device,
        precision=precision,
        compile=compile_nets,
        seed=seed,
        workers=workers,
        name=name,
        quiet=quiet,
        save_seconds=save_every,
    )
    with stop_at_once():
        if refine_model is not None:
            from partswap.training.refine import refine

            print(refine(options, refine_model, own_size=size is None))
        else:
            print(train(options))
