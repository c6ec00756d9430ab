"""Checkpoints from the Hugging Face Hub, through its own client and cache.

`HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` are the client's and work as documented there.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from partswap.checkpoint.files import CARD_FILE, CONFIG_FILE, PARTS_FILE, WEIGHTS_FILE
from partswap.errors import ModelError

__all__ = ["HubId", "download", "parse_hub_id"]

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_HUB_ID = re.compile(rf"(?P<repo>{_WORD}/{_WORD})(?:@(?P<revision>{_WORD}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FILES = (CONFIG_FILE, PARTS_FILE, WEIGHTS_FILE, CARD_FILE)


@dataclass(frozen=True)
class HubId:
    """A model repository, `owner/name`, and a branch, tag or commit in it (None: its default branch)."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def parse_hub_id(text: str) -> HubId | None:
    """`owner/name[@revision]`, or None for anything else; no dots or dashes in a row, so no path can be
    built."""
    match = _HUB_ID.fullmatch(text)
    if match is None or ".." in text or "--" in text:
        return None
    return HubId(match["repo"], match["revision"])


def download(hub_id: HubId) -> Path:
    """The folder of `hub_id` in the client's cache, downloaded where needed; only a checkpoint's own files
    are.

    A full commit that is cached already makes no request. Raises ModelError with one sentence for each way to
    fail.
    """
    from huggingface_hub import snapshot_download

    def fetch(local_only: bool) -> Path:
        return Path(
            snapshot_download(
                hub_id.repo,
                revision=hub_id.revision,
                allow_patterns=list(_FILES),
                local_files_only=local_only,
            )
        )

    if hub_id.revision and _COMMIT.fullmatch(hub_id.revision):
        try:
            cached = fetch(local_only=True)
            if all((cached / name).is_file() for name in (CONFIG_FILE, PARTS_FILE, WEIGHTS_FILE)):
                return cached
        except Exception:  # not cached, or not whole: ask the hub
            pass
    try:
        return fetch(local_only=False)
    except Exception as error:
        raise ModelError(_sentence(hub_id, error)) from error


def _sentence(hub_id: HubId, error: Exception) -> str:
    """One sentence with the mend. The most specific class comes first: gated derives from not found."""
    from huggingface_hub import errors
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if isinstance(error, errors.GatedRepoError):
        return f"{hub_id} is gated: accept its terms on its page, then set HF_TOKEN or run: hf auth login"
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{hub_id.repo} has no revision {hub_id.revision!r}; leave @{hub_id.revision} out for the newest"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no model {hub_id.repo} on the hub, or it is private and needs HF_TOKEN"
    offline = isinstance(error, errors.OfflineModeIsEnabled)
    if offline or (isinstance(error, errors.LocalEntryNotFoundError) and HF_HUB_OFFLINE):
        return f"{hub_id} is not cached and HF_HUB_OFFLINE is set; unset it to download"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"{hub_id} is not cached and the hub cannot be reached; check the network and HF_ENDPOINT"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full, so {hub_id} could not be downloaded; free some space or set HF_HOME elsewhere"
        )
    return f"{hub_id} could not be downloaded ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
