"""The state on disk, and the moving average."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from partswap.errors import UsageError
from partswap.training.run import adamw
from partswap.training.state import (
    MovingAverage,
    Progress,
    load_state,
    module_tensors,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    save_state,
)

OPTIONS = {"parts": 4, "size": [64, 64], "rate": 0.0015}


def trained(seed: int, steps: int = 3) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()
    return net, optimizer


def test_what_is_saved_is_what_is_read(tmp_path: Path) -> None:
    net, optimizer = trained(0)
    tensors = {**module_tensors(net, "model"), **optimizer_tensors(optimizer, "optimizer0")}
    save_state(tmp_path / "s" / "state.safetensors", tensors, Progress(1, 7, 2.5), OPTIONS)
    found, progress = load_state(tmp_path / "s" / "state.safetensors", OPTIONS)
    assert progress == Progress(1, 7, 2.5)
    assert set(found) == set(tensors)
    assert all(torch.equal(found[k], tensors[k]) for k in tensors)
    other, its_optimizer = trained(1, steps=1)
    restore_module(other, found, "model")
    restore_optimizer(its_optimizer, found, "optimizer0")
    for a, b in ((net, optimizer), (other, its_optimizer)):
        torch.manual_seed(5)
        b.zero_grad()
        a(torch.randn(8, 3)).square().mean().backward()
        b.step()
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))


def test_moments_come_back_in_the_memory_format_of_their_parameters() -> None:
    def updated(restored: bool) -> torch.Tensor:
        torch.manual_seed(0)
        net = nn.Conv2d(8, 6, 3).to(memory_format=torch.channels_last)
        optimizer = adamw([{"params": list(net.parameters())}], 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.randn(2, 8, 5, 5)).square().mean().backward()
            optimizer.step()
            if restored:
                saved = {k: v.contiguous() for k, v in optimizer_tensors(optimizer, "o").items()}
                restore_optimizer(optimizer, saved, "o")
        return net.weight.detach()

    assert torch.equal(updated(restored=True), updated(restored=False))


def test_moments_of_other_parameters_are_one_sentence() -> None:
    _, optimizer = trained(0)
    saved = optimizer_tensors(optimizer, "o")
    for other in (nn.Linear(2, 2, bias=False), nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))):
        parameters = [{"params": list(other.parameters()), "lr": 0.1}]
        with pytest.raises(UsageError, match="does not fit this version"):
            restore_optimizer(adamw(parameters, 0.1), saved, "o")


def test_tensors_that_share_memory_can_be_saved(tmp_path: Path) -> None:
    x = torch.arange(4.0)
    save_state(tmp_path / "state", {"a": x, "b": x, "c": x[::2]}, Progress(), OPTIONS)
    found, _ = load_state(tmp_path / "state", OPTIONS)
    assert found["c"].tolist() == [0, 2]


def test_a_run_with_other_options_is_not_resumed_and_they_are_named(tmp_path: Path) -> None:
    save_state(tmp_path / "state", {}, Progress(), OPTIONS)
    with pytest.raises(UsageError, match=r"parts \(was 4, now 8\), rate") as raised:
        load_state(tmp_path / "state", {**OPTIONS, "parts": 8, "rate": 0.1})
    assert "size" not in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "missing"])
def test_a_damaged_state_is_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state"
    save_state(path, {"a": torch.zeros(100)}, Progress(), OPTIONS)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": whole[:-50], "noise": b"\xff" * 200, "empty": b""}[damage])
    with pytest.raises(UsageError, match="cannot be read"):
        load_state(path, OPTIONS)


def test_a_state_without_our_record_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, str(tmp_path / "state"))
    with pytest.raises(UsageError, match="cannot be read"):
        load_state(tmp_path / "state", OPTIONS)


def test_a_state_of_another_net_is_one_sentence(tmp_path: Path) -> None:
    net, _ = trained(0)
    with pytest.raises(UsageError, match="another --out"):
        restore_module(nn.Linear(2, 2), module_tensors(net, "model"), "model")


def test_a_save_that_fails_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    save_state(path, {"a": torch.ones(2)}, Progress(0, 1), OPTIONS)

    def broken(tensors: object, name: str, metadata: object) -> None:
        Path(name).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", broken)
    with pytest.raises(KeyboardInterrupt):
        save_state(path, {"a": torch.zeros(2)}, Progress(0, 2), OPTIONS)
    assert load_state(path, OPTIONS)[1].step == 1
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_the_moving_average_follows_quickly_at_first_and_slowly_later() -> None:
    net = nn.BatchNorm1d(2)
    average = MovingAverage(net, decay=0.9)
    with torch.no_grad():
        net.weight.fill_(11.0)
        net.running_mean.fill_(10.0)
    net.num_batches_tracked.fill_(7)
    average.update(net, 0)  # decay 1 / 10
    torch.testing.assert_close(average.module.weight, torch.full((2,), 10.0))
    torch.testing.assert_close(average.module.running_mean, torch.full((2,), 9.0))
    assert average.module.num_batches_tracked.item() == 7
    average.update(net, 10_000)  # decay 0.9
    torch.testing.assert_close(average.module.weight, torch.full((2,), 10.1))
    assert not any(p.requires_grad for p in average.module.parameters())
    assert net.weight.requires_grad
