"""Checkpoints from the Hugging Face Hub, through its own client and cache.

`HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` are the client's and work as documented there.

A revision is a name for a commit. `pull` asks the hub which one, downloads and checks its files, and only
then notes the commit under the name (the client's `refs/`). Whoever uses the model later gets that commit
without a request, until it is pulled again.
"""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from partswap.checkpoint.files import (
    MAX_JSON,
    MAX_WEIGHTS,
    REQUIRED,
    SHARED,
    WEIGHTS_FILE,
    git_sha1,
    pickles_among,
    sha256,
)
from partswap.checkpoint.hub_errors import offline, sentence
from partswap.checkpoint.hub_id import COMMIT, HubId
from partswap.errors import ModelError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

__all__ = ["PICKLE_WORDS", "client", "damaged_files", "fetch", "pull"]

PICKLE_WORDS = "pickled weights can run code, so partswap takes nothing from there"
_PATIENCE = 20.0
"""Seconds that the hub may take to say what a repository holds."""


def fetch(hub_id: HubId, quiet: bool = False) -> Path:
    """The folder of `hub_id`: the commit that was pulled last under this name, without any request, or else
    `pull`."""
    folder = _cached(hub_id)
    if folder is None:
        return pull(hub_id, quiet)
    _refuse_pickles(hub_id, (entry.name for entry in folder.iterdir()))
    damaged = damaged_files(folder)
    if damaged:
        raise ModelError(
            f"{hub_id} is damaged in the cache: {', '.join(damaged)} does not have the hash that the hub "
            f"promised; fetch it again with: partswap models pull {hub_id}"
        )
    return folder


def pull(hub_id: HubId, quiet: bool = False) -> Path:
    """Bring the cache level with the hub; returns the folder, whose name is the commit.

    Only a checkpoint's own files are downloaded (`SHARED`), and a repository with pickled weights is refused
    before anything is. A full commit that is cached whole needs no request. Raises ModelError with one
    sentence for each way to fail; nothing that failed is ever taken for whole.
    """
    folder = _cached(hub_id) if hub_id.pinned or offline() else None
    if folder is not None and not damaged_files(folder):
        _refuse_pickles(hub_id, (entry.name for entry in folder.iterdir()))
        return folder
    try:
        with client(quiet):
            return _pull(hub_id, quiet)
    except ModelError:
        raise
    except Exception as error:  # the client and its libraries raise many kinds
        raise ModelError(sentence(hub_id, error)) from error


def _pull(hub_id: HubId, quiet: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi(library_name="partswap").model_info(
        hub_id.repo, revision=hub_id.revision, files_metadata=True, timeout=_PATIENCE
    )
    commit = str(info.sha)
    if not COMMIT.fullmatch(commit):
        raise ModelError(f"{hub_id}: the hub names no commit; is HF_ENDPOINT a hub?")
    pinned = hub_id.at(commit)
    promised = _promised(hub_id, info)
    before = _snapshot(pinned)
    if before is not None:
        _drop(before, damaged_files(before, promised))
    missing = sum(size for name, (size, _) in promised.items() if not _present(before, name))
    if missing:
        _refuse_full_disk(pinned, missing)
        if not quiet:
            print(f"fetching {pinned} ({missing / 2**20:.1f} MiB)", file=sys.stderr, flush=True)
    folder = Path(
        snapshot_download(hub_id.repo, revision=commit, allow_patterns=list(SHARED), library_name="partswap")
    )
    damaged = damaged_files(folder, promised)
    if damaged:
        _drop(folder, damaged)
        raise ModelError(
            f"{hub_id} arrived damaged: {', '.join(damaged)} does not have the hash that the hub promised, "
            "and is not kept; try again, or check HF_ENDPOINT"
        )
    lacking = [name for name in REQUIRED if not (folder / name).is_file()]
    if lacking or folder.name != commit:
        raise ModelError(
            f"{hub_id} did not arrive whole: {', '.join(lacking) or commit} is missing; try again"
        )
    if not hub_id.pinned:
        _note(folder, hub_id.revision or "main")
    return folder


@contextmanager
def client(quiet: bool) -> Iterator[None]:
    """The hub's client with its bars where a person watches stderr, unless `quiet`, and its log and warnings
    silent: what went wrong is said once, by us."""
    from huggingface_hub import utils

    verbosity = utils.logging.get_verbosity()
    hide = (quiet or not sys.stderr.isatty()) and not utils.are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        utils.logging.set_verbosity_error()
        if hide:
            utils.disable_progress_bars()
        try:
            yield
        finally:
            utils.logging.set_verbosity(verbosity)
            if hide:
                utils.enable_progress_bars()


def _cached(hub_id: HubId) -> Path | None:
    """The folder of the commit, or of the one noted under the name, if all of it is cached; no request."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                hub_id.repo, revision=hub_id.revision, allow_patterns=list(SHARED), local_files_only=True
            )
        )
    except Exception:  # not cached, or not all of it
        return None
    whole = COMMIT.fullmatch(folder.name) and all((folder / name).is_file() for name in REQUIRED)
    return folder if whole else None


def _snapshot(pinned: HubId) -> Path | None:
    """Where the files of a commit lie that are cached already, all of them or some; None if none is."""
    from huggingface_hub import try_to_load_from_cache

    for name in SHARED:
        found = try_to_load_from_cache(pinned.repo, name, revision=pinned.revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _promised(hub_id: HubId, info: ModelInfo) -> dict[str, tuple[int, str | None]]:
    """Size and hash of the checkpoint's files, as the hub tells them before anything is downloaded."""
    listed = info.siblings or []
    _refuse_pickles(hub_id, (each.rfilename for each in listed))
    files = {
        each.rfilename: (each.size or 0, each.lfs.sha256 if each.lfs else each.blob_id)
        for each in listed
        if each.rfilename in SHARED
    }
    missing = [name for name in REQUIRED if name not in files]
    if missing:
        raise ModelError(f"{hub_id} is not a partswap checkpoint: it lacks {', '.join(missing)}")
    for name, (size, _) in files.items():
        if size > (MAX_WEIGHTS if name == WEIGHTS_FILE else MAX_JSON):
            raise ModelError(f"{hub_id} is refused: the size of its {name} ({size} bytes) is absurd")
    return files


def _refuse_pickles(hub_id: HubId, names: Iterator[str]) -> None:
    found = pickles_among(names)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise ModelError(f"{hub_id} is refused: it holds {', '.join(found[:3])}{more}; {PICKLE_WORDS}")


def damaged_files(folder: Path, promised: dict[str, tuple[int, str | None]] | None = None) -> list[str]:
    """The files whose content has another hash than promised.

    The client does not compare what it downloads with the hash. It stores a file under that hash, however, so
    that the promise is at hand later too (where the system has symbolic links).
    """
    damaged = []
    for name in SHARED:
        path = folder / name
        if not path.is_file():
            continue
        expected = promised[name][1] if promised and name in promised else path.resolve().name
        if not expected or not set(expected) <= set("0123456789abcdef"):
            continue
        known = {64: sha256, 40: git_sha1}.get(len(expected))
        if known is not None and known(path) != expected:
            damaged.append(name)
    return damaged


def _drop(folder: Path, names: list[str]) -> None:
    """Take files out of the cache: the content, and the link to it."""
    for name in names:
        path = folder / name
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _present(folder: Path | None, name: str) -> bool:
    return folder is not None and (folder / name).is_file()


def _refuse_full_disk(hub_id: HubId, needed: int) -> None:
    """The client only warns, and fills the disk."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE).expanduser().absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ModelError(
            f"{hub_id} needs {needed / 2**20:.1f} MiB, but the disk of {place} is full ({free / 2**20:.1f} "
            "MiB free); free some space, or set HF_HOME to another disk"
        )


def _note(folder: Path, name: str) -> None:
    """Note the commit under the revision's name, in one step, where the client looks for it too."""
    from partswap.imaging.save import atomic_write

    with atomic_write(folder.parent.parent / "refs" / name) as temporary:
        temporary.write_text(folder.name)
