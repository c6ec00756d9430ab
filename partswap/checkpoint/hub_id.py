"""The names of models on the hub: `owner/name[@revision]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COMMIT", "HubId", "origin", "parse_hub_id"]

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_HUB_ID = re.compile(rf"(?P<repo>{_WORD}/{_WORD})(?:@(?P<revision>{_WORD}))?")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubId:
    """A model repository, `owner/name`, and a branch, tag or commit in it (None: its default branch)."""

    repo: str
    revision: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether the revision is a full commit, which never changes."""
        return self.revision is not None and COMMIT.fullmatch(self.revision) is not None

    def at(self, commit: str) -> HubId:
        """The same repository at a commit."""
        return HubId(self.repo, commit)

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def parse_hub_id(text: str) -> HubId | None:
    """`owner/name[@revision]`, or None for anything else; no dots or dashes in a row, so no path can be
    built."""
    match = _HUB_ID.fullmatch(text)
    if match is None or ".." in text or "--" in text:
        return None
    return HubId(match["repo"], match["revision"])


def origin(path: Path) -> HubId | None:
    """The repository and commit of a folder in the hub client's cache, which says both in its path:
    `models--OWNER--NAME/snapshots/COMMIT`. None for any other folder."""
    kind, _, repo = path.parent.parent.name.partition("--")
    if kind != "models" or path.parent.name != "snapshots" or not COMMIT.fullmatch(path.name):
        return None
    return parse_hub_id(f"{repo.replace('--', '/', 1)}@{path.name}")
