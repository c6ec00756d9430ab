"""A hub of our own on loopback, for the real `huggingface_hub` client: the endpoints that it uses, told from
its source (models, revisions, trees, resolve with ETag and redirects, repositories, preupload, LFS, commits,
card validation, errors by `X-Error-Code`).

Large files lie on a second server, another origin, as the real hub keeps them: `/resolve/` redirects there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Repo:
    """A repository: its commits (oid -> files), and what its branches and tags point at."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """A new commit with exactly these files."""
        content = repr((len(self.commits), sorted(files.items()))).encode()
        oid = hashlib.sha1(content).hexdigest()
        self.commits[oid] = dict(files)
        self.refs[ref] = oid
        return oid

    def find(self, revision: str | None) -> str | None:
        """The commit of a branch, a tag or itself."""
        revision = revision or "main"
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass
class Request:
    """A request as the server saw it. origin: hub, or storage for the server of large files."""

    origin: str
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Hub:
    """What the server holds and how it behaves.

    card_errors: what is wrong with a card, for /api/validate-yaml. tokens: token -> read, write or stranger
    (who sees no private repository). granted: tokens that a gated repository is open to. moved: old name ->
    new name. broken: the HTTP status of every answer. faults: file name -> what goes wrong with it: wrong
    (another byte), short (half of it), cut (the connection breaks after half of it), slow (a tenth of a
    second for every 64 KiB), or an HTTP status.
    """

    card_errors: Callable[[str], list[str]]
    repos: dict[str, Repo] = field(default_factory=dict)
    tokens: dict[str, str] = field(
        default_factory=lambda: {"hf_write": "write", "hf_read": "read", "hf_stranger": "stranger"}
    )
    granted: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str | int] = field(default_factory=dict)
    broken: int | None = None
    requests: list[Request] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    storage: str = ""

    def repo(self, name: str, files: dict[str, bytes], **options: Any) -> str:
        """Make a repository; returns the commit."""
        self.repos[name] = Repo(**options)
        return self.repos[name].commit(files)

    def downloads(self) -> list[str]:
        """The names of the files that were asked for."""
        return [r.path.rpartition("/")[2] for r in self.requests if "/resolve/" in r.path]


@contextmanager
def running_hub(card_errors: Callable[[str], list[str]]) -> Iterator[Hub]:
    """A hub on two free ports of 127.0.0.1, until the block ends."""
    hub = Hub(card_errors)
    servers = []
    for origin, handler in (("url", _HubHandler), ("storage", _StorageHandler)):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.hub = hub  # type: ignore[attr-defined]
        setattr(hub, origin, f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path: str) -> bool:
    """What the hub's `.gitattributes` sends to large file storage."""
    return path.endswith((".safetensors", ".bin", ".pt", ".onnx"))


class _Answered(Exception):  # noqa: N818  (not an error)
    """Refused already; nothing more to say."""


class _Handler(BaseHTTPRequestHandler):
    origin = ""
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        split = urlsplit(self.path)
        self.query, self.where = parse_qs(split.query), unquote(split.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.origin, self.command, self.where, headers))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.answer()
        except _Answered:
            pass  # the connection stays open: a client that finds it closed cannot tell that from a cut
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = _serve  # noqa: N815  (http.server's names)

    def answer(self) -> None:
        """Each server answers its own endpoints; this one has none."""
        self.refuse(404, "", f"no such endpoint: {self.command} {self.where}")

    def reply(self, status: int, data: object = None, headers: dict[str, str] | None = None) -> None:
        body = b"" if data is None else json.dumps(data).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.reply(status, {"error": message}, headers)

    def send_file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        """The file, whole or from a Range on, with what is wrong with it."""
        fault = self.hub.faults.get(name)
        if isinstance(fault, int):
            self.refuse(fault, "", "Internal Error")
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        sent = data[start:]
        if fault == "wrong":
            sent = bytes([sent[0] ^ 1]) + sent[1:]
        announced = len(sent)
        if fault == "short" and self.command == "GET":
            announced = len(sent) // 2
        if fault in ("short", "cut"):
            sent = sent[: len(data) // 2] if start == 0 else b""
        self.send_response(206 if start else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        if self.command == "HEAD":
            return
        for at in range(0, len(sent), 1 << 16):
            self.wfile.write(sent[at : at + (1 << 16)])
            if fault == "slow":
                time.sleep(0.1)
        if len(sent) < announced:
            self.close_connection = True


class _StorageHandler(_Handler):
    """Large files by their SHA-256."""

    origin = "storage"

    def answer(self) -> None:
        _, oid, name = self.where.split("/")
        if self.command == "PUT":
            assert hashlib.sha256(self.body).hexdigest() == oid
            self.hub.stored[oid] = self.body
            self.reply(200)
        else:
            self.send_file(name, self.hub.stored[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


class _HubHandler(_Handler):
    origin = "hub"

    def answer(self) -> None:
        if self.hub.broken is not None:
            self.refuse(self.hub.broken, "", "Internal Error")
            return
        for method, pattern, answer in _ROUTES:
            found = re.fullmatch(pattern, self.where)
            if found is not None and self.command in method.split():
                answer(self, **found.groupdict())
                return
        super().answer()

    def token(self) -> str | None:
        """The token that was sent; refuses one that nobody has."""
        sent = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if sent is not None and sent not in self.hub.tokens:
            self.refuse(401, "", "Invalid credentials in Authorization header")
            raise _Answered
        return sent

    def writer(self) -> bool:
        token = self.token()
        if token is None:
            self.refuse(401, "", "Invalid username or password.")
        elif self.hub.tokens[token] != "write":
            self.refuse(403, "", "You don't have the rights to create a model under this namespace")
        return token is not None and self.hub.tokens[token] == "write"

    def readable(self, name: str) -> Repo | None:
        token, repo = self.token(), self.hub.repos.get(name)
        if repo is None or (repo.private and self.hub.tokens.get(token or "") not in ("read", "write")):
            self.refuse(401 if token is None else 404, "RepoNotFound", "Repository not found")
            return None
        return repo

    def at(self, repo: Repo, revision: str | None) -> str | None:
        oid = repo.find(revision)
        if oid is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return oid

    def redirected(self, repo: str) -> bool:
        """A repository that was renamed is found under its new name."""
        new = self.hub.moved.get(repo)
        if new is None:
            return False
        self.reply(307, headers={"Location": self.path.replace(repo, new, 1)})
        return True

    def info(self, repo: str, revision: str | None = None) -> None:
        if self.redirected(repo):
            return
        found = self.readable(repo)
        oid = found and self.at(found, revision)
        if found is None or oid is None:
            return
        siblings: list[dict[str, Any]] = [{"rfilename": name} for name in sorted(found.commits[oid])]
        if "blobs" in self.query:
            for each in siblings:
                each.update(self.blob(found.commits[oid][each["rfilename"]], each["rfilename"], "blobId"))
        gated = "manual" if found.gated else False
        self.reply(
            200,
            {
                "id": repo,
                "modelId": repo,
                "sha": oid,
                "private": found.private,
                "gated": gated,
                "siblings": siblings,
            },
        )

    def blob(self, data: bytes, name: str, key: str) -> dict[str, Any]:
        if not is_large(name):
            return {key: git_sha1(data), "size": len(data)}
        oid = hashlib.sha256(data).hexdigest()
        inside = "sha256" if key == "blobId" else "oid"
        lfs = {inside: oid, "size": len(data), "pointerSize": 130}
        return {key: git_sha1(oid.encode()), "size": len(data), "lfs": lfs}

    def tree(self, repo: str, revision: str) -> None:
        if self.redirected(repo):
            return
        found = self.readable(repo)
        oid = found and self.at(found, revision)
        if found is not None and oid is not None:
            files = sorted(found.commits[oid].items())
            listed = [{"type": "file", "path": name, **self.blob(data, name, "oid")} for name, data in files]
            self.reply(200, listed)

    def resolve(self, repo: str, revision: str, path: str) -> None:
        if self.redirected(repo):
            return
        found = self.readable(repo)
        oid = found and self.at(found, revision)
        if found is None or oid is None:
            return
        token = self.token()
        if found.gated and token not in self.hub.granted:
            words = f"Access to model {repo} is restricted."
            self.refuse(401 if token is None else 403, "GatedRepo", words)
            return
        data = found.commits[oid].get(path)
        if data is None:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": oid, "Accept-Ranges": "bytes"}
        if not is_large(path):
            self.send_file(path, data, {**headers, "ETag": f'"{git_sha1(data)}"'})
            return
        sha = hashlib.sha256(data).hexdigest()
        self.hub.stored[sha] = data
        linked = {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(data))}
        self.reply(
            302, headers={**headers, **linked, "Location": f"{self.hub.storage}/{sha}/{path}", "ETag": '"0"'}
        )

    def create(self) -> None:
        if not self.writer():
            return
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        status = 409 if name in self.hub.repos else 200
        if status == 200:
            private = wanted.get("visibility") == "private" or wanted.get("private") is True
            self.hub.repos[name] = Repo(private=private)
            self.hub.repos[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        self.reply(status, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def validate(self) -> None:
        errors = self.hub.card_errors(json.loads(self.body)["content"])
        self.reply(400 if errors else 200, {"errors": [{"message": e} for e in errors], "warnings": []})

    def preupload(self, repo: str, revision: str) -> None:
        if not self.writer():
            return
        found = self.hub.repos[repo]
        there = found.commits[found.refs[revision]]
        modes = []
        for wanted in json.loads(self.body)["files"]:
            name = wanted["path"]
            old = there.get(name)
            large = is_large(name)
            oid = None if old is None else hashlib.sha256(old).hexdigest() if large else git_sha1(old)
            mode = "lfs" if large else "regular"
            modes.append({"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.reply(200, {"files": modes})

    def batch(self, repo: str) -> None:
        if not self.writer():
            return
        objects = []
        for each in json.loads(self.body)["objects"]:
            answer = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.hub.stored:
                upload = {"href": f"{self.hub.storage}/{each['oid']}/upload"}
                verify = {"href": f"{self.hub.url}/api/{repo}/verified"}
                answer["actions"] = {"upload": upload, "verify": verify}
            objects.append(answer)
        self.reply(200, {"transfer": "basic", "objects": objects})

    def verified(self, repo: str) -> None:
        wanted = json.loads(self.body)
        good = len(self.hub.stored.get(wanted["oid"], b"")) == wanted["size"]
        self.reply(200 if good else 404, {})

    def commit(self, repo: str, revision: str) -> None:
        if not self.writer():
            return
        found = self.hub.repos[repo]
        files = dict(found.commits[found.refs[revision]])
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        oid = found.commit(files, revision)
        url = f"{self.hub.url}/{repo}/commit/{oid}"
        self.reply(200, {"success": True, "commitOid": oid, "commitUrl": url})

    def whoami(self) -> None:
        token = self.token()
        if token is None:
            self.refuse(401, "", "Invalid username or password.")
        else:
            self.reply(200, {"type": "user", "name": "owner", "auth": {}})


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_ROUTES = (
    ("GET", rf"/api/models/{_REPO}", _HubHandler.info),
    ("GET", rf"/api/models/{_REPO}/revision/(?P<revision>.+)", _HubHandler.info),
    ("GET", rf"/api/models/{_REPO}/tree/(?P<revision>[^/]+)", _HubHandler.tree),
    ("GET HEAD", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _HubHandler.resolve),
    ("POST", r"/api/repos/create", _HubHandler.create),
    ("POST", r"/api/validate-yaml", _HubHandler.validate),
    ("POST", rf"/api/models/{_REPO}/preupload/(?P<revision>.+)", _HubHandler.preupload),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _HubHandler.batch),
    ("POST", rf"/api/{_REPO}/verified", _HubHandler.verified),
    ("POST", rf"/api/models/{_REPO}/commit/(?P<revision>.+)", _HubHandler.commit),
    ("GET", r"/api/whoami-v2", _HubHandler.whoami),
)
