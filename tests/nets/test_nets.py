"""Networks: shapes, sizes, and padding that equals timm's."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame

from partswap.errors import UsageError
from partswap.nets.build import build_renderer, build_student
from partswap.nets.disentangler import Critic, PartDecoder, ShapeCode, ShapeEncoder
from partswap.nets.encoder import Encoder, StaticSameConv2d
from partswap.nets.renderer import AppearanceEncoder, Renderer, pool_appearance
from partswap.nets.segmenter import Segmenter

SMALL = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def student() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(SMALL, 5, 16).eval()


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (320, 32), (160, 224)])
def test_the_students_map_has_the_size_of_its_input(student: Segmenter, size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert student(torch.zeros(2, 3, *size)).shape == (2, 6, *size)


def test_the_student_is_built_from_its_configuration_and_keeps_its_names() -> None:
    config = {"backbone": SMALL, "parts": 5, "width": 16}
    first, second = build_student(config), build_student(config)
    second.load_state_dict(first.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(first.eval()(x), second.eval()(x))


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_static_padding_equals_timms(kernel: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    theirs = Conv2dSame(4, 6, kernel, stride, dilation=dilation, groups=2)
    ours = StaticSameConv2d(4, 6, kernel, stride, dilation=dilation, groups=2)
    ours.load_state_dict(theirs.state_dict())
    for size in ((32, 64), (96, 32)):
        x = torch.randn(2, 4, *size)
        torch.testing.assert_close(ours(x), theirs(x))


def test_an_encoder_gives_what_timm_gives() -> None:
    import timm

    torch.manual_seed(0)
    ours = Encoder("tf_mobilenetv3_small_minimal_100").eval()
    assert any(isinstance(m, StaticSameConv2d) for m in ours.modules())
    theirs = timm.create_model(
        "tf_mobilenetv3_small_minimal_100", features_only=True, pretrained=False
    ).eval()
    theirs.load_state_dict(ours.body.state_dict())
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for i, (a, b) in enumerate(zip(ours(x), theirs(x), strict=True)):
            torch.testing.assert_close(a, b)
            assert a.shape == (1, ours.channels[i], 64 // 2 ** (i + 1), 96 // 2 ** (i + 1))


def test_fewer_levels_can_be_asked_for() -> None:
    assert len(Encoder(SMALL, 4)(torch.zeros(2, 3, 64, 64))) == 4


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050", "test_byobnet"]
)
def test_the_fine_layers_are_what_features_up_to_stride_8_are_made_of(name: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(name).eval()
    x = torch.randn(1, 3, 64, 64)
    before = encoder(x)
    fine = encoder.fine_layers()
    for layer in fine:
        for weight in layer.parameters():
            weight.data.mul_(1.5)
    after = encoder(x)
    assert not any(torch.equal(a, b) for a, b in zip(after[:3], before[:3], strict=True))
    others = [p for layer in encoder.modules() if not [*layer.children()] for p in layer.parameters()]
    known = {id(p) for layer in fine for p in layer.parameters()}
    for weight in others:
        if id(weight) not in known:
            weight.data.mul_(1.5)
    again = encoder(x)
    assert all(torch.equal(a, b) for a, b in zip(again[:3], after[:3], strict=True)), "nothing else is"
    assert not any(torch.equal(a, b) for a, b in zip(again[3:], after[3:], strict=True))


@pytest.mark.parametrize("name", ["no_such_net", "vit_tiny_patch16_224", "../evil"])
def test_an_encoder_that_cannot_serve_is_a_usage_error_that_names_it(name: str) -> None:
    with pytest.raises(UsageError, match=name.replace(".", r"\.")):
        Encoder(name)
    with pytest.raises(UsageError, match="tf_efficientnet_lite0"):
        build_student({"backbone": name, "parts": 4, "width": 16})


def test_student_and_renderer_fit_their_share_of_a_checkpoint() -> None:
    from partswap.discovery.model import APPEARANCE
    from partswap.distillation.train import STUDENT_WIDTH

    backbone = "tf_efficientnet_lite0"
    student = build_student({"backbone": backbone, "parts": 16, "width": STUDENT_WIDTH})
    renderer = build_renderer({"parts": 16, "appearance": APPEARANCE, "width": 64})
    size = [sum(t.numel() * 2 for t in net.state_dict().values()) for net in (student, renderer)]
    assert size[0] <= 10 * 2**20
    assert sum(size) <= 16 * 2**20


def test_pooling_gives_each_part_the_mean_of_its_pixels() -> None:
    features = torch.tensor([[1.0, 3.0], [10.0, 20.0]]).view(1, 1, 2, 2).repeat(1, 2, 1, 1)
    part_map = torch.zeros(1, 3, 2, 2)
    part_map[0, 0, 0] = 1
    part_map[0, 1, 1, 1] = 1
    pooled = pool_appearance(features, part_map)
    torch.testing.assert_close(pooled[0, :, 0], torch.tensor([2.0, 20.0, 0.0]), rtol=1e-3, atol=0)


def test_the_appearance_encoder_sees_too_little_to_know_what_it_sees() -> None:
    x = torch.randn(1, 3, 64, 64, requires_grad=True)
    y = AppearanceEncoder(8).eval()(x)
    assert y.shape == (1, 8, 16, 16)
    y[0, :, 8, 8].sum().backward()
    seen = x.grad.abs().sum((0, 1)).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).max() <= 15


def test_the_renderer_paints_by_part_and_code() -> None:
    torch.manual_seed(0)
    renderer = Renderer(3, 8, 16).eval()
    photo, maps = torch.randn(2, 3, 64, 32), torch.rand(2, 4, 16, 8).softmax(1)
    with torch.no_grad():
        codes = renderer.encode(photo, maps)
        assert codes.shape == (2, 3, 8)
        picture = renderer.decode(maps, codes)
        assert picture.shape == (2, 3, 32, 16)
        torch.testing.assert_close(renderer(photo, maps, maps), picture)
        assert not torch.allclose(renderer.decode(maps, codes.flip(0)), picture)
        assert not torch.allclose(renderer.decode(maps.flip(1), codes), picture)


def test_shapes_of_the_generative_model() -> None:
    torch.manual_seed(0)
    code = ShapeEncoder(SMALL, 6, 16)(torch.randn(2, 3, 64, 96))
    assert code.mean.shape == code.log_variance.shape == (2, 6, 4, 6)
    assert code.log_variance.min() >= -8
    assert code.log_variance.max() <= 4
    assert PartDecoder(5, 6, 16)(code.mean).shape == (2, 5, 8, 12)
    assert Critic(5, 6, 7)(code.mean, torch.randn(2, 5, 7)).shape == (2,)


def test_a_sample_of_the_code_is_reparametrised() -> None:
    code = ShapeCode(torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 2 * 1.0986123))
    assert code.sample(torch.full((1, 1, 1, 1), -1.0)).item() == pytest.approx(2 - 3, abs=1e-5)
