"""A checkpoint to the hub, in one commit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from partswap.checkpoint.card import check_card
from partswap.checkpoint.files import CARD_FILE, REQUIRED, SHARED, pickles_among
from partswap.checkpoint.format import read_checkpoint
from partswap.checkpoint.hub import PICKLE_WORDS, client
from partswap.checkpoint.hub_errors import NO_TOKEN, offline, sentence
from partswap.checkpoint.hub_id import HubId
from partswap.errors import ModelError, PartswapError

__all__ = ["Pushed", "push", "refuse_unready"]


@dataclass(frozen=True)
class Pushed:
    """What the hub made of it. url: the commit's page."""

    hub_id: HubId
    url: str


def refuse_unready(folder: Path, repo: HubId) -> None:
    """What can be known before any work: ModelError where the card is not in order, or no upload is possible
    (HF_HUB_OFFLINE, no token)."""
    from huggingface_hub import get_token

    problems = check_card(folder)
    if problems:
        raise ModelError(f"the card {folder / CARD_FILE} is not ready to be shared: {'; '.join(problems)}")
    if offline():
        raise ModelError(f"{repo} cannot be uploaded while HF_HUB_OFFLINE is set; unset it")
    if get_token() is None:
        raise ModelError(f"{repo} cannot be uploaded without a token that may write; {NO_TOKEN}")


def push(folder: Path, repo: HubId, private: bool = False, quiet: bool = False) -> Pushed:
    """Create the repository if it is not there, and commit the checkpoint's files (`SHARED`) to it.

    private: of a repository that is created now; one that is public already is refused, since a push would
    not hide it. Files that the repository holds beside these stay. A checkpoint that has not changed makes
    no new commit. Raises ModelError with one sentence for each way to fail.
    """
    checkpoint = read_checkpoint(folder)
    refuse_unready(folder, repo)
    try:
        with client(quiet):
            return _push(folder, repo, private, f"{checkpoint.config.name} {checkpoint.revision}")
    except PartswapError:
        raise
    except Exception as error:  # the client and its libraries raise many kinds
        raise ModelError(sentence(repo, error, "uploaded")) from error


def _push(folder: Path, repo: HubId, private: bool, title: str) -> Pushed:
    from huggingface_hub import CommitOperationAdd, HfApi

    from partswap import __version__

    api = HfApi(library_name="partswap", library_version=__version__)
    api.create_repo(repo.repo, private=private or None, exist_ok=True)
    there = api.model_info(repo.repo)
    if private and not there.private:
        raise ModelError(
            f"{repo} is there already and public; make it private on the hub first, or leave --private out"
        )
    pickles = pickles_among(each.rfilename for each in there.siblings or [])
    if pickles:
        raise ModelError(
            f"{repo} holds {', '.join(pickles[:3])}: {PICKLE_WORDS}; delete that first, or push elsewhere"
        )
    names = [name for name in SHARED if name in REQUIRED or (folder / name).is_file()]
    done = api.create_commit(
        repo.repo,
        [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in names],
        commit_message=f"{title}, by partswap {__version__}",
    )
    return Pushed(repo.at(done.oid), done.commit_url)
