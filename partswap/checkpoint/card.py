"""The model card: `README.md` in the hub's format, a head of metadata (YAML) and a text (Markdown).

The client's own classes read and write the head, so that what passes here passes there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partswap.checkpoint.files import CARD_FILE, MAX_JSON
from partswap.checkpoint.hub import client
from partswap.errors import ModelError, UsageError

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard

__all__ = [
    "Score",
    "build_card",
    "card_license",
    "card_scores",
    "check_card",
    "read_card",
    "report_scores",
    "with_scores",
]

LIBRARY = "partswap"
TASK = "image-segmentation"
UNKNOWN_LICENSE = "unknown"
_TAGS = ("part-discovery", "unsupervised")


@dataclass(frozen=True)
class Score:
    """A number of `model-index`. metric: its short name; name: how people read it; value: 0..1."""

    metric: str
    name: str
    value: float


def build_card(
    name: str,
    text: str,
    *,
    license: str = UNKNOWN_LICENSE,
    tags: Sequence[str] = _TAGS,
    scores: Sequence[Score] = (),
    dataset: str = "",
) -> str:
    """A card for the model `name`: metadata, then `text` (Markdown). dataset: what `scores` were measured
    on."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        license=license,
        library_name=LIBRARY,
        pipeline_tag=TASK,
        tags=list(tags),
        model_name=name if scores else None,
        eval_results=_results(scores, dataset) if scores else None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text.strip()}\n"


def read_card(folder: Path) -> ModelCard:
    """The card of the checkpoint in `folder`; ModelError, with the reason, if there is none or it cannot be
    read."""
    from huggingface_hub import ModelCard

    path = folder / CARD_FILE
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_JSON + 1)
        if len(raw) > MAX_JSON:
            raise ValueError("it is larger than 1 MiB")
        with client(quiet=True):  # which warns of cards without metadata
            return ModelCard(raw.decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} has no {CARD_FILE}; the hub shows it as the model's page") from error
    except Exception as error:  # the YAML reader's many, and the client's own
        raise ModelError(f"the card {path} cannot be read ({' '.join(str(error).split())[:160]})") from error


def check_card(folder: Path) -> list[str]:
    """What a card needs before it is shared and this one lacks, in words; empty if it is in order.

    Raises ModelError as `read_card` does; a malformed `model-index` is among what the client refuses.
    """
    data = read_card(folder).data
    problems = []
    if data.get("library_name") != LIBRARY:
        problems.append(f"library_name is not {LIBRARY}")
    if data.get("pipeline_tag") != TASK:
        problems.append(f"pipeline_tag is not {TASK}")
    if not isinstance(data.get("license"), str):
        problems.append("license is missing")
    tags = data.get("tags")
    if not isinstance(tags, list) or not tags or not all(isinstance(tag, str) for tag in tags):
        problems.append("tags are missing")
    if any(not isinstance(result.metric_value, int | float) for result in data.get("eval_results") or []):
        problems.append("a score in model-index is no number")
    return problems


def card_license(folder: Path) -> str:
    """The licence that the card names, or `unknown`."""
    try:
        name = read_card(folder).data.get("license")
    except ModelError:
        return UNKNOWN_LICENSE
    return name[:60] if isinstance(name, str) and name else UNKNOWN_LICENSE


def card_scores(card: ModelCard) -> list[dict[str, Any]]:
    """The scores of `model-index`: dataset, metric, name and value of each."""
    return [
        {
            "dataset": result.dataset_name,
            "metric": result.metric_type,
            "name": result.metric_name or result.metric_type,
            "value": result.metric_value,
        }
        for result in card.data.get("eval_results") or []
    ]


def with_scores(card: ModelCard, name: str, scores: Sequence[Score], dataset: str) -> str:
    """The card's text with these scores as its `model-index`, in place of an older one."""
    card.data["model_name"], card.data["eval_results"] = name, _results(scores, dataset)
    return str(card)


def report_scores(report: object) -> list[Score]:
    """The scores of a report that `partswap evaluate --out` wrote, those that there are; UsageError for
    another file."""
    try:
        assert isinstance(report, dict)
        model, named = report["model"], report["named"] or {}
        one_to_one, names = model["one_to_one_strict"] or {}, named.get("strict") or {}
        rows = [
            ("mean_iou", "part IoU, many-to-one, strict", (model["strict"] or model["paper"])["overall"]),
            ("mean_iou_one_to_one", "part IoU, one-to-one, strict", one_to_one.get("overall")),
            ("mean_iou_named", "part IoU of the named parts, strict", names.get("overall")),
            ("foreground_iou", "foreground IoU", model["foreground_iou"]),
            ("nmi", "NMI on the foreground", model["fg_nmi"]),
            ("ari", "ARI on the foreground", model["fg_ari"]),
        ]
        return [
            Score(metric, name, round(float(value), 3)) for metric, name, value in rows if value is not None
        ]
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            "that is no report of partswap evaluate; make one with: partswap evaluate --out FILE"
        ) from error


def _results(scores: Sequence[Score], dataset: str) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    slug = re.sub(r"[^a-z0-9]+", "-", dataset.partition("(")[0].lower()).strip("-") or "images"
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=slug,
            dataset_name=dataset,
            metric_type=score.metric,
            metric_name=score.name,
            metric_value=score.value,
        )
        for score in scores
    ]
