"""From what the hub's client raises to one sentence with the mend."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from partswap.checkpoint.hub_id import HubId

__all__ = ["NO_TOKEN", "sentence"]

NO_TOKEN = "set HF_TOKEN, or run: hf auth login"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# The client's own choice of HTTP library differs between its versions, so errors are known by their names.
_HTTP_LIBRARIES = {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"}
_CUT_OFF = {"RemoteProtocolError", "ReadError", "ChunkedEncodingError", "IncompleteRead", "ProtocolError"}


def sentence(hub_id: HubId, error: BaseException, doing: str = "downloaded") -> str:
    """Why `hub_id` could not be `doing` ("downloaded", "uploaded"), and what to do about it."""
    from huggingface_hub import errors

    # The most specific class comes first: gated derives from not found.
    if isinstance(error, errors.GatedRepoError):
        return f"{hub_id.repo} is gated: accept its terms on its page on the hub, then {NO_TOKEN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{hub_id.repo} has no revision {hub_id.revision!r}; leave @{hub_id.revision} out for the newest"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return _not_found(hub_id)
    chain = list(_chain(error))
    if any(isinstance(each, errors.OfflineModeIsEnabled) for each in chain) or (
        isinstance(error, errors.LocalEntryNotFoundError) and offline()
    ):
        return (
            f"{hub_id} is no folder here and not in the cache, and HF_HUB_OFFLINE is set; "
            "unset it to use the hub"
        )
    for each in chain:
        found = _known(hub_id, each, doing)
        if found is not None:
            return found
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _unreachable(hub_id)
    words = " ".join(str(error).split())[:160]
    return f"{hub_id} could not be {doing} ({type(error).__name__}: {words})"


def offline() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _not_found(hub_id: HubId) -> str:
    from huggingface_hub import get_token

    known = "HF_TOKEN may not see it" if get_token() else f"it is private: {NO_TOKEN}"
    return f"there is no folder {hub_id.repo} here and no such model on the hub, or {known}"


def _unreachable(hub_id: HubId) -> str:
    return (
        f"{hub_id} is no folder here and not in the cache, and the hub cannot be reached; "
        "check the network and HF_ENDPOINT"
    )


def _known(hub_id: HubId, error: BaseException, doing: str) -> str | None:
    """The sentence for this one error of the chain, if it says what is wrong."""
    from huggingface_hub import errors

    name = type(error).__name__
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"{hub_id} cannot be {doing} without a token; {NO_TOKEN}"
    if isinstance(error, errors.HfHubHTTPError):
        return _by_status(hub_id, error, doing)
    if isinstance(error, OSError) and error.errno in _FULL:
        return (
            f"{hub_id} could not be {doing}: the disk is full ({error.strerror}); "
            "free some space, or set HF_HOME to another disk"
        )
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        return (
            f"{hub_id} could not be {doing}: {error.filename or 'the cache'} cannot be written "
            f"({error.strerror}); set HF_HOME to a folder of yours"
        )
    if name in _CUT_OFF or "Consistency check failed" in str(error):
        return f"{hub_id} could not be {doing}: a file was cut off on its way and is not kept; try again"
    if type(error).__module__.partition(".")[0] in _HTTP_LIBRARIES or isinstance(error, ConnectionError):
        return _unreachable(hub_id) if doing == "downloaded" else _no_network(hub_id, doing)
    if str(error).startswith("Invalid metadata in README.md"):
        return (
            f"{hub_id} could not be {doing}: the hub refuses the card: {' '.join(str(error).split())[:300]}"
        )
    return None


def _no_network(hub_id: HubId, doing: str) -> str:
    return f"{hub_id} could not be {doing}: the hub cannot be reached; check the network and HF_ENDPOINT"


def _by_status(hub_id: HubId, error: BaseException, doing: str) -> str | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    message = str(getattr(error, "server_message", None) or "")
    said = f" ({' '.join(message.split())[:120]})" if message else ""
    if status == 401:
        return (
            f"{hub_id} could not be {doing}: the hub does not accept the token{said}; make a new one, "
            f"then {NO_TOKEN}"
        )
    if status == 403:
        return (
            f"{hub_id} could not be {doing}: the token lacks the right to do that{said}; use one that has it"
        )
    if status == 429:
        return f"{hub_id} could not be {doing}: the hub had too many requests from here; wait some minutes"
    if type(error).__name__ == "DisabledRepoError":
        return f"{hub_id.repo} has been disabled by the hub"
    if status is not None and status >= 500:
        return f"{hub_id} could not be {doing}: the hub is in trouble (error {status}); try again later"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
