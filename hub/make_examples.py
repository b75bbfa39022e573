"""Make the demo's example photos from those inside scikit-image and scikit-learn: `python -m hub.make_examples`.

Each run gives the same pictures. The tulips and the plain sky come from Debian packages and are not made here.
`abc_hf/examples/README.md` names all photographers.
"""

from pathlib import Path

import numpy as np
import skimage
import sklearn
import torch
from PIL import Image, ImageDraw

from abc_hf.data.kernels import REACH, aperture_kernel, path_kernel, scaled_path
from abc_hf.data.sources import encode_jpeg
from abc_hf.data.synthesis import composite, convolve, layers_of, soften, to_linear, to_srgb

FOLDER = Path(__file__).parents[1] / "abc_hf" / "examples"
SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.__file__).parent / "datasets" / "images"
SHARP = np.ones((1, 1), np.float32)

# Outlines drawn by hand, (x, y) in pixels.
ASTRONAUT = (
    "154,85 160,60 180,36 222,14 264,21 293,45 305,83 298,112 280,132 270,140 262,163 256,175 280,190 300,220 306,236 "
    "330,252 345,280 357,325 364,347 390,343 430,350 465,375 490,420 497,455 505,475 505,512 45,512 25,470 19,400 "
    "30,340 50,280 80,235 113,208 112,188 130,160 155,150 182,148 182,134 172,121 159,108"
)
ROCKET = (
    "322,126 314,135 311,147 310,177 309,183 310,344 308,352 308,406 332,406 332,352 336,344 336,183 334,177 334,147 "
    "331,135"
)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def region(photo: np.ndarray, outline: str) -> torch.Tensor:
    """The inside of an outline, anti-aliased: (1, 1, H, W) in 0..1."""
    mask = Image.new("L", photo.shape[1::-1])
    if outline:
        ImageDraw.Draw(mask).polygon([tuple(map(float, point.split(","))) for point in outline.split()], fill=1)
    return soften(torch.from_numpy(np.asarray(mask) > 0)[None, None])


def blur(photo: np.ndarray, behind: np.ndarray, front: np.ndarray = SHARP, outline: str = "") -> np.ndarray:
    """The photo blurred by the kernel `behind`, except its outlined part, which is blurred by the kernel `front`."""
    light = to_linear(torch.from_numpy(photo.transpose(2, 0, 1)[None].copy()) / 255)
    layers = layers_of(light, region(photo, outline))
    kernels = (torch.from_numpy(np.pad(kernel, REACH - len(kernel) // 2))[None] for kernel in (behind, front))
    made, _ = composite(*(convolve(layer, kernel) for layer, kernel in zip(layers, kernels, strict=True)))
    return (255 * to_srgb(made[0])).round().numpy().astype(np.uint8).transpose(1, 2, 0)


def make_examples() -> dict[str, np.ndarray]:
    rocket = read(SKIMAGE / "rocket.jpg")
    upwards = np.stack([np.linspace(-1, 1, 200), np.zeros(200)], 1)
    return {
        "bokeh": read(SKLEARN / "flower.jpg"),
        "missed-focus": blur(read(SKIMAGE / "astronaut.png"), SHARP, aperture_kernel(6), ASTRONAUT),
        "panning": blur(rocket, path_kernel(scaled_path(upwards, 14)), SHARP, ROCKET),
        "all-sharp": read(SKLEARN / "china.jpg"),
        "night": rocket,
        "black-and-white": read(SKIMAGE / "camera.png"),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, photo in make_examples().items():
        (FOLDER / f"{name}.jpg").write_bytes(encode_jpeg(photo, 88))
