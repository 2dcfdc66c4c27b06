"""Heat maps: Grad-CAM against hand arithmetic, and models whose answer is known."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from untrained import write_untrained

from alld.data.preprocess import to_square
from alld.errors import ConfigError
from alld.inference.heat_map import coloured, enlarged, greatest, heat_map, heat_png, overlaid
from alld.inference.predictor import Predictor
from alld.model.backbones import Body, create_model
from alld.model.explain import evidence
from alld.model.heads import create_head
from alld.model.network import ORIENTATIONS
from alld.model.torch_network import features_and_logits, fold_batch_norm, turned, turned_back

SIDE, PLACES = 32, 4
# Logits of healthy and blast for the mean of each channel.
WEIGHTS = torch.tensor([[0.5, -1.0, 2.0], [1.5, 1.0, -1.0]])
IMAGES = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
SQUARE = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))


class Means(nn.Module):
    """Features are the means of blocks: (B, 3, 32, 32) to (B, 3, 4, 4)."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images, SIDE // PLACES)


class Corner(Means):
    """Sees the lower left quarter of the image only."""

    def forward(self, images: Tensor) -> Tensor:
        seen = torch.zeros(PLACES, PLACES)
        seen[2:, :2] = 1
        return super().forward(images) * seen


def averaging(network: nn.Module) -> nn.Sequential:
    """A body with a head that averages the places and weighs the channels."""
    linear = nn.Linear(3, 2, bias=False)
    linear.weight.data = WEIGHTS.clone()
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    return nn.Sequential(Body(network, 3, []), head).eval()


def pooling(network: nn.Module) -> nn.Sequential:
    """A body with the head that ALLD trains, of maximum and mean."""
    torch.manual_seed(0)
    return nn.Sequential(Body(network, 3, []), create_head(3)).eval()


def test_the_map_is_that_of_hand_arithmetic() -> None:
    """Each place is the block's colours times what they add to blast over healthy."""
    picture = torch.zeros(1, 3, SIDE, SIDE)
    picture[0, :, 8:16, 24:32] = torch.tensor([0.2, 0.4, 0.6])[:, None, None]  # place (1, 3)
    picture[0, 1, 0:8, 0:8] = 0.5  # place (0, 0), green only
    found = evidence(averaging(Means()), picture)[0].numpy()
    expected = np.zeros((PLACES, PLACES))
    # (1.5 - 0.5) * 0.2 + (1 + 1) * 0.4 + (-1 - 2) * 0.6 = -0.8, over 16 places
    expected[1, 3] = -0.8 / 16
    expected[0, 0] = (1.0 + 1.0) * 0.5 / 16
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("tta", [False, True])
def test_the_map_of_an_averaging_head_sums_to_the_margin(tta: bool) -> None:
    """Nothing is lost or cut off at zero: blast minus healthy, in the logits that P(blast) uses."""
    model = averaging(Corner())
    logits = features_and_logits(model, IMAGES, tta=tta)[1].detach()
    found = evidence(model, IMAGES, tta=tta).sum((1, 2))
    torch.testing.assert_close(found, logits[:, 1] - logits[:, 0])


def test_a_model_that_sees_one_corner_has_its_map_there() -> None:
    """With maximum and mean, there is no evidence outside of the quarter."""
    found = evidence(pooling(Corner()), IMAGES).abs()
    assert found[:, 2:, :2].min() > 0
    found[:, 2:, :2] = 0
    assert found.max() == 0


def test_a_maximum_is_explained_as_well_as_a_mean() -> None:
    """A bright block that only the maximum notices is where the map is strongest."""
    picture = torch.full((1, 3, SIDE, SIDE), 0.1)
    picture[0, :, 16:24, 8:16] = 1.0
    found = evidence(pooling(Means()), picture)[0].abs()
    assert divmod(int(found.argmax()), PLACES) == (2, 1)


def test_swapped_classes_turn_the_sign() -> None:
    """Evidence for one class is evidence against the other."""
    model = averaging(Means())
    before = evidence(model, IMAGES)
    model.get_parameter("1.2.weight").data = WEIGHTS.flip(0)
    torch.testing.assert_close(evidence(model, IMAGES), -before)


@pytest.fixture(scope="module")
def lite0() -> nn.Sequential:
    torch.manual_seed(0)
    return create_model("efficientnet_lite0", pretrained=False).eval()


def test_explaining_leaves_the_model_as_it_is(lite0: nn.Sequential) -> None:
    """No gradients, no hooks, the same logits; and folding changes no map."""
    with torch.inference_mode():
        before = lite0(SQUARE)
    found = evidence(lite0, SQUARE)
    with torch.inference_mode():
        assert torch.equal(lite0(SQUARE), before)
    assert all(parameter.grad is None for parameter in lite0.parameters())
    assert not any(module._forward_hooks for module in lite0.modules())
    folded = fold_batch_norm(lite0, 96)
    assert folded is not lite0
    torch.testing.assert_close(evidence(folded, SQUARE), found, rtol=1e-3, atol=1e-5)


def test_an_orientation_is_undone() -> None:
    """Turned and turned back, every pixel is where it was; only orientation 0 is upright."""
    for orientation in range(ORIENTATIONS):
        view = turned(IMAGES, orientation)
        assert torch.equal(turned_back(view[:, 0], orientation), IMAGES[:, 0])
        assert (orientation == 0) == torch.equal(view, IMAGES)


def test_the_mean_map_of_eight_orientations_turns_with_the_picture(lite0: nn.Sequential) -> None:
    """The map of each view is turned back before they are averaged."""
    mean = evidence(lite0, SQUARE, tta=True)
    again = evidence(lite0, turned(SQUARE, 7), tta=True)
    torch.testing.assert_close(turned_back(again, 7), mean, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(mean, evidence(lite0, SQUARE), rtol=1e-2)


@pytest.mark.parametrize(
    ("arch", "size", "reason"),
    [
        ("efficientnet_lite0", 64, r"2 x 2 cells.*larger data\.image_size"),
        ("timm:test_vit", 160, r"tokens.*convolutional"),
    ],
)
def test_features_without_places_have_no_map(arch: str, size: int, reason: str) -> None:
    """Two places a side have no middle, and attention fills tokens from anywhere."""
    model = create_model(arch, pretrained=False).eval()
    with pytest.raises(ConfigError, match=reason):
        evidence(model, torch.zeros(1, 3, size, size))


@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "timm:convnext_atto", "timm:regnetx_002"])
def test_convolutional_networks_have_maps(arch: str) -> None:
    """The families of the paper and of timm give a finite map that is not the same everywhere."""
    torch.manual_seed(0)
    found = evidence(create_model(arch, pretrained=False).eval(), SQUARE)
    assert found.shape == (1, 3, 3)
    assert torch.isfinite(found).all()
    assert found.std() > 0


def test_the_heat_map_covers_the_square_that_the_network_saw(tmp_path: Path) -> None:
    """Of a picture of any shape it is (S, S), with the values of the places."""
    predictor = Predictor.load(write_untrained(tmp_path / "model", 96), "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    heat = heat_map(predictor, pixels)
    assert heat.shape == (96, 96)
    assert heat.dtype == np.float32
    [places] = predictor.evidence([to_square(pixels, 96, "none")])  # (3, 3)
    middles = (heat[15::32, 15::32] + heat[16::32, 16::32]) / 2
    assert middles == pytest.approx(places, abs=0.05 * greatest(places))


def test_enlarging_is_linear_between_the_middles_of_places() -> None:
    """Each of two places keeps its value up to its middle."""
    row = enlarged(np.array([[0.0, 1.0]], np.float32).repeat(2, axis=0), 8)[0]
    assert row.tolist() == [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]


def test_colours_show_the_class_and_the_strength() -> None:
    """Orange for blast, blue for healthy, half as opaque for half as much; zero is transparent."""
    heat = np.array([[0.4, 0.2], [0.0, -0.4]], np.float32)
    colours = coloured(heat).astype(int)
    red, blue, opacity = colours[..., 0], colours[..., 2], colours[..., 3]
    assert (red > blue).tolist() == [[True, True], [False, False]]
    assert blue[1, 1] > red[1, 1]
    assert opacity[0, 0] == opacity[1, 1] == 217
    assert opacity[0, 1] == pytest.approx(opacity[0, 0] / 2, abs=1)
    assert opacity[1, 0] == 0
    assert coloured(heat, limit=0.8)[0, 0, 3] == pytest.approx(opacity[0, 0] / 2, abs=1)
    assert not coloured(np.zeros_like(heat))[..., 3].any()


def test_the_overlay_is_the_picture_in_grey_where_there_is_no_evidence() -> None:
    """It turns orange where there is some for blast."""
    places = np.zeros((4, 4), np.float32)
    places[0, 0] = 1
    shown = overlaid(np.full((40, 40, 3), 200, np.uint8), places).astype(int)
    assert len(set(shown[39, 39])) == 1
    assert shown[0, 0, 0] > shown[0, 0, 2] + 100


def test_the_png_is_the_colours() -> None:
    """Bytes for a page: RGBA of the map's own size."""
    heat = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    with Image.open(BytesIO(heat_png(heat))) as picture:
        assert picture.mode == "RGBA"
        assert np.array_equal(np.asarray(picture), coloured(heat))
