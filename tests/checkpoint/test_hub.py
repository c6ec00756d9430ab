"""The real hub client against a hub on loopback: what is downloaded, when, and what is said when it fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

fcntl, pty, resource, termios = (pytest.importorskip(n) for n in ("fcntl", "pty", "resource", "termios"))

ID = "owner/tiny"


def test_pull_downloads_a_checkpoints_files_and_nothing_else(hub, files, partswap, tmp_path):
    commit = hub.repo(ID, files)
    done = partswap("models", "pull", ID)
    assert done.code == 0, done.err
    assert done.out == f"{ID}@{commit}\n"
    assert "fetching" in done.err
    wanted = {"config.json", "parts.json", "model.safetensors", "README.md"}
    assert set(hub.downloads()) == wanted
    snapshot = tmp_path / "hf" / "hub" / "models--owner--tiny" / "snapshots" / commit
    assert {path.name for path in snapshot.iterdir()} == wanted
    assert (snapshot / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert any(request.origin == "storage" for request in done.requests)  # a redirect to another server


def test_a_graph_in_the_hubs_cache_is_never_opened(files, tmp_path):
    """Another program (`hf download`) may have brought it."""
    from partswap.checkpoint import read_checkpoint
    from partswap.engine.graphs import graphs_there

    folder = tmp_path / "models--o--n" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    for name in ("config.json", "parts.json", "model.safetensors", "model.onnx"):
        (folder / name).write_bytes(files[name])
    assert folder / "model.onnx" not in graphs_there(read_checkpoint(folder))


def test_what_is_cached_makes_no_request(hub, files, partswap):
    commit = hub.repo(ID, files)
    assert partswap("models", "pull", ID).code == 0
    for model in (f"{ID}@{commit}", ID, f"{ID}@main"):
        done = partswap("models", "info", model, "--json")
        assert done.code == 0, done.err
        assert not done.requests
        assert not done.err
        assert json.loads(done.out)["commit"] == commit
    assert not partswap("models", "pull", f"{ID}@{commit}").requests  # a commit never changes
    assert partswap("models", "pull", ID).requests  # a branch may


def test_a_branch_moves_with_the_next_pull_only(hub, files, partswap):
    first = hub.repo(ID, files)
    assert partswap("models", "pull", f"{ID}@main").out == f"{ID}@{first}\n"
    second = hub.repos[ID].commit({**files, "README.md": b"# newer\n"})
    assert json.loads(partswap("models", "info", ID, "--json").out)["commit"] == first
    again = partswap("models", "pull", ID)
    assert again.out == f"{ID}@{second}\n"
    assert "README.md" in again.err or "fetching" in again.err
    assert json.loads(partswap("models", "info", ID, "--json").out)["commit"] == second
    listed = json.loads(partswap("models", "list", "--json").out)
    assert {f"{ID}@{first}", f"{ID}@{second}"} <= {entry["model"] for entry in listed}


def test_a_tag_is_a_revision(hub, files, partswap):
    first = hub.repo(ID, files)
    hub.repos[ID].refs["v1.0"] = first
    hub.repos[ID].commit({**files, "README.md": b"# newer\n"})
    assert partswap("models", "pull", f"{ID}@v1.0").out == f"{ID}@{first}\n"


def test_a_model_is_fetched_by_whoever_needs_it_and_the_record_says_which(hub, files, partswap, photo):
    commit = hub.repo(ID, files)
    done = partswap("segment", photo, "--json", "--out", photo.parent / "out", "--model", ID)
    assert done.code == 0, done.err
    line = json.loads(done.out)
    assert (line["hub"], line["commit"]) == (ID, commit)
    words = ("--parts", "chest", "--to", "arm", "--json", "--out", photo.parent / "swap.png", "--model", ID)
    swapped = partswap("transfer", photo, photo, *words)
    assert not swapped.requests
    assert swapped.code == 0, swapped.err
    record = json.loads(swapped.out)
    assert (record["hub"], record["commit"]) == (ID, commit)


def test_a_private_repository_needs_the_token(hub, files, partswap):
    hub.repo(ID, files, private=True)
    partswap("models", "pull", ID).refused("no such model", "private", "HF_TOKEN", "hf auth login")
    partswap("models", "pull", ID, HF_TOKEN="hf_stranger").refused("HF_TOKEN may not see it")
    done = partswap("models", "pull", ID, HF_TOKEN="hf_read")
    assert done.code == 0, done.err
    telemetry = "/api/agent-harnesses"  # of the client's own
    asked = [r for r in done.requests if r.origin == "hub" and r.path != telemetry]
    assert all(r.headers.get("authorization") == "Bearer hf_read" for r in asked)
    # the token must not leave the hub with the redirect
    assert not any("authorization" in r.headers for r in done.requests if r.origin == "storage")


def test_a_gated_repository_needs_its_terms_accepted(hub, files, partswap):
    hub.repo(ID, files, gated=True)
    for token in (None, "hf_read"):
        partswap("models", "pull", ID, HF_TOKEN=token).refused("is gated", "accept its terms")
    hub.granted.add("hf_read")
    assert partswap("models", "pull", ID, HF_TOKEN="hf_read").code == 0


def test_what_is_not_there(hub, files, partswap):
    hub.repo(ID, files)
    partswap("models", "pull", "owner/nothing").refused("owner/nothing", "no such model")
    partswap("models", "pull", f"{ID}@v9").refused("no revision 'v9'", "leave @v9 out")
    partswap("models", "pull", f"{ID}@{'0' * 40}").refused("no revision")
    partswap("models", "pull", ID, HF_TOKEN="hf_old").refused("does not accept the token", "HF_TOKEN")
    partswap("segment", "x.png", "--model", "owner/nothing").refused("no folder owner/nothing here")


def test_without_a_network(hub, files, partswap):
    commit = hub.repo(ID, files)
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    partswap("models", "pull", ID, **nowhere).refused("cannot be reached", "HF_ENDPOINT")
    partswap("models", "info", ID, **nowhere).refused("cannot be reached")
    assert partswap("models", "pull", ID).code == 0
    assert json.loads(partswap("models", "info", ID, "--json", **nowhere).out)["commit"] == commit
    partswap("models", "pull", ID, **nowhere).refused("cannot be reached")


def test_offline(hub, files, partswap):
    commit = hub.repo(ID, files)
    partswap("models", "pull", ID, HF_HUB_OFFLINE="1").refused("HF_HUB_OFFLINE is set", "unset it")
    assert partswap("models", "pull", ID).code == 0
    for model in (ID, f"{ID}@{commit}"):
        done = partswap("models", "pull", model, HF_HUB_OFFLINE="1")
        assert done.out == f"{ID}@{commit}\n", done.err
        assert not done.requests


def test_the_hub_in_trouble(hub, files, partswap):
    hub.repo(ID, files)
    hub.broken = 503
    partswap("models", "pull", ID).refused("the hub is in trouble (error 503)")
    hub.broken = 429
    partswap("models", "pull", ID).refused("too many requests")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_wrong_hash_is_found_and_nothing_of_it_kept(hub, files, partswap, tmp_path, name):
    commit = hub.repo(ID, files)
    hub.faults[name] = "wrong"
    partswap("models", "pull", ID).refused("arrived damaged", name, "hash")
    assert partswap("models", "info", ID, HF_HUB_OFFLINE="1").code == 3  # no commit was noted
    assert partswap("models", "info", f"{ID}@{commit}", HF_HUB_OFFLINE="1").code == 3
    hub.faults.clear()
    assert partswap("models", "pull", ID).code == 0


@pytest.mark.parametrize("fault", ["short", "cut"])
def test_a_file_that_is_cut_off(hub, files, partswap, tmp_path, fault):
    hub.repo(ID, files)
    hub.faults["model.safetensors"] = fault
    partswap("models", "pull", ID).refused("cut off", "try again")
    assert partswap("models", "info", ID, HF_HUB_OFFLINE="1").code == 3
    hub.faults.clear()
    assert partswap("models", "pull", ID).code == 0


def test_damage_in_the_cache_is_found_and_mended(hub, files, partswap, tmp_path):
    commit = hub.repo(ID, files)
    assert partswap("models", "pull", ID).code == 0
    snapshot = tmp_path / "hf" / "hub" / "models--owner--tiny" / "snapshots" / commit
    weights = snapshot / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.resolve().write_bytes(data)
    partswap("models", "info", ID).refused("damaged in the cache", "model.safetensors", "models pull")
    assert partswap("models", "pull", f"{ID}@{commit}").code == 0
    assert partswap("models", "info", ID).code == 0
    assert weights.read_bytes() == files["model.safetensors"]


def test_a_full_disk(hub, files, environment, done_type, partswap):
    """A real one is not at hand; a limit on the size of files makes the client's write fail the same way."""
    hub.repo(ID, files)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    command = [sys.executable, "-B", "-m", "partswap", "models", "pull", ID]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, preexec_fn=limit
    )
    done_type(done.returncode, done.stdout, done.stderr, []).refused("the disk is full", "HF_HOME")
    assert partswap("models", "info", ID, HF_HUB_OFFLINE="1").code == 3
    assert partswap("models", "pull", ID).code == 0  # once there is room


def test_a_folder_that_may_not_be_written(hub, files, partswap, tmp_path):
    hub.repo(ID, files)
    (tmp_path / "file").write_text("a file where a folder should be")
    done = partswap("models", "pull", ID, HF_HOME=str(tmp_path / "file" / "hf"))
    assert done.code == 3
    assert "Traceback" not in done.err
    assert done.err.count("error: ") == 1


@pytest.mark.parametrize("name", ["pytorch_model.bin", "old/weights.pkl", "model.PT"])
def test_a_repository_with_a_pickle_is_refused_before_anything_is_downloaded(hub, files, partswap, name):
    hub.repo(ID, {**files, name: b"cos\nsystem\n"})
    done = partswap("models", "pull", ID)
    done.refused(name, "pickled weights can run code")
    assert not hub.downloads()


def test_other_repositories(hub, files, partswap):
    del files["parts.json"]
    hub.repo(ID, files)
    partswap("models", "pull", ID).refused("not a partswap checkpoint", "parts.json")
    hub.repo("owner/huge", {**files, "parts.json": b" " * (2 << 20)})
    partswap("models", "pull", "owner/huge").refused("size of its parts.json", "absurd")
    assert not hub.downloads()


def test_a_renamed_repository_is_followed(hub, files, partswap):
    commit = hub.repo("new-owner/tiny", files)
    hub.moved["owner/tiny"] = "new-owner/tiny"
    assert partswap("models", "pull", ID).out == f"{ID}@{commit}\n"
    done = partswap("models", "info", ID, "--json")
    assert not done.requests
    assert json.loads(done.out)["commit"] == commit


@pytest.mark.parametrize("words", ["../x", "owner/../x", "a/b/c", "owner/na--me", "o/n@../x", "o/n@a b", ""])
def test_ids_are_checked_before_anything_else(partswap, words):
    done = partswap("models", "pull", words)
    assert done.code == 2
    assert not done.requests


def test_progress_is_shown_where_a_person_watches(hub, files, environment):
    hub.repo(ID, files)
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "partswap", "models", "pull", ID]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    seen = b""
    while True:
        try:
            block = os.read(controller, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        if not block:
            break
        seen += block
    assert process.stdout is not None
    out = process.stdout.read().decode()
    assert process.wait() == 0
    assert re.fullmatch(rf"{ID}@[0-9a-f]{{40}}\n", out)  # no bar among the data
    assert b"100%" in seen
    assert b"MB" in seen or b"kB" in seen or b"k/" in seen


def test_quiet_says_nothing(hub, files, partswap, photo):
    hub.repo(ID, files)
    done = partswap("models", "pull", ID, "--quiet")
    assert done.code == 0
    assert not done.err


def test_a_kill_at_any_moment_leaves_nothing_that_is_taken_for_whole(hub, files, environment, partswap):
    commit = hub.repo(ID, {**files, "README.md": b"# tiny\n" * 40_000})
    hub.faults.update({"README.md": "slow", "model.safetensors": "slow"})
    command = [sys.executable, "-m", "partswap", "models", "pull", ID]
    home, finished = Path(environment["HF_HOME"]), 0
    for moment in range(6):
        shutil.rmtree(home, ignore_errors=True)
        before = len(hub.requests)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while len(hub.requests) - before < moment + 1 and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(0.03 * moment)
        process.send_signal(signal.SIGKILL)
        finished += process.wait() == 0
        process.communicate()
        done = partswap("models", "info", f"{ID}@{commit}", HF_HUB_OFFLINE="1")
        assert done.code == 0 or "HF_HUB_OFFLINE is set" in done.err  # whole or absent, never damaged
        noted = home / "hub" / "models--owner--tiny" / "refs" / "main"
        assert done.code == 0 or not noted.exists()
    assert finished < 6
    hub.faults.clear()
    assert partswap("models", "pull", ID).code == 0
    assert partswap("models", "verify", ID, "--engine", "torch").code == 0
