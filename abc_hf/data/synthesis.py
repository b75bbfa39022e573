"""SmartBlur-Synth: physically meant blur put into sharp photos, with its level map and its desirability.

A scene is a stack of layers, back to front, each a photo and a coverage (alpha). Every layer is blurred by its own
kernel in linear light, coverage included, and the layers are composited: light of a blurred object spreads over what is
behind it, and a sharp object is never smeared by the blur behind it. The truth follows from the kernels.

Levels are thresholds of the equivalent radius of the kernel (abc_hf/data/kernels.py) over the photo's long side.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from ..configuration_abc_fusenet import DESIRABILITY
from ..losses import AMOUNT_STEPS, NO_LABEL, NUM_LEVELS, UNKNOWN
from .kernels import (
    Turn,
    aperture_kernel,
    arc_path,
    convolve,
    defocus_kernel,
    equivalent_radius,
    gaussian_kernel,
    identity_kernel,
    path_kernel,
    scaled_path,
    shake_path,
    straight_path,
    tremor_path,
)

LEVEL_RADII = (0.0016, 0.004, 0.010)
"""Where low, medium and high blur begin, as a fraction of the long side: 0.8, 2 and 5 pixels of 512. Section 3.2
puts it in words: visible, but details can be seen; details not clear any more; textures and shapes changed."""
MELTED_RADIUS = 0.05
"""Where the amount of blur ends: what is blurred more looks the same."""
_LOW, _MEDIUM, _HIGH = np.log(LEVEL_RADII)
AMOUNT_LOGARITHMS = (_LOW - (_MEDIUM - _LOW) / 2, _LOW, _MEDIUM, _HIGH, np.log(MELTED_RADIUS))
AMOUNT_LEVELS = (0, 0.5, 1.5, 2.5, NUM_LEVELS - 1)
"""Logarithms of radii as fractions of the long side, and the amounts of blur that they are; straight in between."""
NO_BLUR, GOOD_BLUR, OK_BLUR, BAD_BLUR = range(len(DESIRABILITY))
SCENES = {
    "sharp": 0.10,
    "background": 0.24,
    "subject": 0.10,
    "depth": 0.14,
    "frame": 0.07,
    "shake": 0.08,
    "moving-subject": 0.10,
    "panning": 0.11,
    "turning-subject": 0.04,
    "turning-frame": 0.02,
}
"""What is blurred, and how often: nothing; all but the subject; the subject; with depth; everything, by defocus or by
camera shake; the subject by its motion; the background by the camera's following the subject; the subject or the frame
by what turns, comes near or goes away."""
LARGEST_RADIUS = {"background": 0.05, "panning": 0.06, "moving-subject": 0.05, "turning-subject": 0.05, "shake": 0.035}
"""The largest radius of a scene as a fraction of the long side. Others have 0.026: a lens or a pan melts a background
more than a missed focus melts a subject."""
HELD_OUT_SCENES = tuple(scene for scene in SCENES if not scene.startswith("turning"))
"""Scenes of the test split: those that have kernels or paths of its own."""


@dataclass
class Sample:
    """image: (H, W, 3) uint8; levels: (H, W) uint8, 0..3 and 255 = unknown; amounts: see `amounts_of`; desirability:
    class index or -100."""

    image: np.ndarray
    levels: np.ndarray
    amounts: np.ndarray
    subject: np.ndarray | None
    desirability: int
    blur_kind: str
    scene: str


# --------------------------------------------------------------------------------------------------------- rendering


def to_linear(image: np.ndarray) -> np.ndarray:
    """sRGB uint8 to linear light in 0..1 (float32)."""
    return _LINEAR[image]


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light to sRGB values in 0..255 (float32, not rounded)."""
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)


def brighten(linear: np.ndarray, gain: float) -> np.ndarray:
    """Give back to what is nearly white, in linear light, what the camera cut off: up to 1 + gain times as much. Lamps
    and glints keep their brightness when they are blurred into discs and streaks."""
    if not gain:
        return linear
    near = np.clip((linear.max(-1, keepdims=True) - 0.9) / 0.1, 0, 1)
    return linear * (1 + np.float32(gain) * near**2)


_CODES = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)


def fill_hole(linear: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Continue (H, W, 3) into the hole (H, W) in 0..1 from what surrounds it, coarse to fine."""
    known = 1 - hole
    filled = (linear * known[..., None]).sum((0, 1)) / max(known.sum(), 1e-6) * np.ones_like(linear)
    for sigma in (64, 24, 8, 3):
        step = max(1, sigma // 4)
        small = known[::step, ::step]
        weight = ndimage.gaussian_filter(small, sigma / step)
        mean = ndimage.gaussian_filter(linear[::step, ::step] * small[..., None], (sigma / step, sigma / step, 0))
        rows = np.minimum(np.arange(linear.shape[0]) // step, small.shape[0] - 1)
        columns = np.minimum(np.arange(linear.shape[1]) // step, small.shape[1] - 1)
        weight, mean = weight[rows][:, columns, None], mean[rows][:, columns]
        trust = np.clip(weight / 0.05, 0, 1)
        filled = filled * (1 - trust) + trust * mean / np.maximum(weight, 1e-6)
    return np.where(hole[..., None] > 0, filled * hole[..., None] + linear * known[..., None], linear)


@dataclass
class Layer:
    """light: (H, W, 3) linear; alpha: (H, W) in 0..1; motion: what blurs both, a kernel or a `Turn`."""

    light: np.ndarray
    alpha: np.ndarray
    motion: np.ndarray | Turn


def composite(layers: list[Layer]) -> tuple[np.ndarray, np.ndarray]:
    """Blur and stack layers back to front. Returns linear light (H, W, 3) and the equivalent radius of what is seen
    (H, W) [pixels], NaN where layers of different blur mix."""
    height, width = layers[0].alpha.shape
    light = np.zeros((height, width, 3), np.float32)
    radius = np.zeros((height, width), np.float32)
    for layer in layers:
        stack = np.concatenate([layer.light * layer.alpha[..., None], layer.alpha[..., None]], -1)
        if isinstance(layer.motion, Turn):
            stack, own = layer.motion.blur(stack), layer.motion.radius((height, width))
        else:
            stack, own = convolve(stack, layer.motion), equivalent_radius(layer.motion)
        alpha = np.clip(stack[..., 3:], 0, 1)
        light = stack[..., :3] + (1 - alpha) * light
        cover = alpha[..., 0]
        mixed = (cover > 0.1) & (cover < 0.9) & (np.abs(radius - own) > 0) & (own > 1.5)
        radius = np.where(mixed, np.nan, np.where(cover >= 0.5, own, radius))
    return light, radius


def blur_by_depth(light: np.ndarray, radius: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Defocus (H, W, 3) by a smooth field of radii [pixels]: a stack of blurred copies, interpolated per pixel."""
    stops = np.r_[0, np.geomspace(0.6, max(radius.max(), 0.7), 6)]
    defocus = aperture_kernel if rng.random() < 0.6 else gaussian_kernel
    result = np.zeros_like(light)
    for index, stop in enumerate(stops):
        left = stops[index - 1] if index else -1.0
        right = stops[index + 1] if index + 1 < len(stops) else np.inf
        rise = (radius - left) / (stop - left)
        fall = (right - radius) / (right - stop) if np.isfinite(right) else np.ones_like(radius)
        weight = np.clip(np.minimum(rise, fall), 0, 1)
        if weight.any():
            kernel = defocus(stop) if stop else identity_kernel()
            result += weight[..., None] * convolve(light, kernel)
    return result


# ------------------------------------------------------------------------------------------------------------ scenes


def random_region(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A region of a quarter to three quarters of the frame: a blob, an ellipse or a straight cut."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    choice = rng.random()
    if choice < 0.5:
        noise = rng.normal(size=(height // 8 + 1, width // 8 + 1)).astype(np.float32)
        noise = ndimage.gaussian_filter(noise, max(height, width) / 8 / rng.uniform(4, 12))
        field = ndimage.zoom(noise, 8, order=1)[:height, :width]
    elif choice < 0.75:
        angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.4, 1.0)
        u = (x - rng.uniform(0.25, 0.75) * width) / width
        v = (y - rng.uniform(0.25, 0.75) * height) / height
        a, b = np.cos(angle) * u + np.sin(angle) * v, (-np.sin(angle) * u + np.cos(angle) * v) / ratio
        field = -np.hypot(a, b)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        field = np.cos(angle) * x / width + np.sin(angle) * y / height
    inside = field > np.quantile(field, rng.uniform(0.25, 0.75))
    return inside.astype(np.float32)


def random_turn(rng: np.random.Generator, region: np.ndarray, radius: float) -> Turn:
    """A turn, an approach or both about a point of the region (H, W), whose farthest parts blur by `radius` pixels."""
    rows, columns = np.nonzero(region > 0.5)
    at = rng.integers(len(rows))
    centre = tuple((0.5 * (line.mean() + line[at])).item() for line in (columns, rows))
    reach = np.hypot(columns - centre[0], rows - centre[1]).max().clip(8)
    spread, way = radius * math.sqrt(6) / reach, rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.7:  # purely the one or the other
        way = round(way / (np.pi / 2)) * np.pi / 2
    return Turn(centre, spread * math.cos(way), spread * math.sin(way))


def soften(mask: np.ndarray) -> np.ndarray:
    """Anti-alias a binary mask."""
    return np.clip(ndimage.gaussian_filter(mask.astype(np.float32), 0.7), 0, 1)


def levels_of(radius: np.ndarray, long_side: int) -> np.ndarray:
    """Equivalent radii [pixels] (NaN = mixed) to levels 0..3 (255 = unknown)."""
    levels = np.digitize(np.nan_to_num(radius / long_side, nan=0.0), LEVEL_RADII).astype(np.uint8)
    return np.where(np.isnan(radius), UNKNOWN, levels).astype(np.uint8)


def amounts_of(radius: np.ndarray, long_side: int) -> np.ndarray:
    """Equivalent radii [pixels] (NaN = mixed) to the amount of blur between the levels, uint8 in units of a level /
    `AMOUNT_STEPS` (255 = unknown).

    It grows with the logarithm of the radius, so that it is 1/2, 3/2 and 5/2 where low, medium and high blur begin,
    and 3 at `MELTED_RADIUS`: rounded, it is the level.
    """
    known = ~np.isnan(radius)
    share = np.log(np.maximum(np.where(known, radius, 0) / long_side, 1e-6))
    level = np.interp(share, AMOUNT_LOGARITHMS, AMOUNT_LEVELS)
    return np.where(known, np.rint(level * AMOUNT_STEPS), UNKNOWN).astype(np.uint8)


def judge(levels: np.ndarray, subject: np.ndarray | None) -> int:
    """Section 3.2 in figures: the desirability that follows from where blur of which level falls.

    The subject's level is the one that most of it has. Blur on it of medium level or more is bad; low is ok. A sharp
    subject before a background that is mostly of medium level or more is good, before less blur ok.
    """
    known = levels != UNKNOWN
    if not (levels[known] > 0).any():
        return NO_BLUR
    if subject is None:
        return NO_LABEL
    on_subject = levels[known & (subject > 0.5)]
    background = levels[known & (subject <= 0.5)]
    if on_subject.size == 0 or background.size == 0:
        return NO_LABEL
    if (on_subject >= 2).mean() > 0.5:
        return BAD_BLUR
    if (on_subject >= 1).mean() > 0.25:
        return OK_BLUR
    if (background >= 2).mean() > 0.5:
        return GOOD_BLUR
    return OK_BLUR


def render(
    photo: np.ndarray,
    subject: np.ndarray | None,
    rng: np.random.Generator,
    cutout: tuple[np.ndarray, np.ndarray] | None = None,
    scene: str | None = None,
    held_out: bool = False,
) -> Sample:
    """Put blur into one sharp photo.

    Args:
        photo: (H, W, 3) uint8 sRGB, sharp all over.
        subject: (H, W) in 0..1, its salient object, or None.
        rng: every choice is drawn from it: the same state gives the same sample.
        cutout: another photo's sharp object, (light-coded uint8 (H, W, 3), alpha (H, W)), placed into this photo as its
            subject; it replaces `subject`.
        scene: one of `SCENES`; drawn if not given.
        held_out: blur by the kernels and paths that are kept out of training.
    """
    if scene is None:
        scenes = HELD_OUT_SCENES if held_out else tuple(SCENES)
        chances = np.array([SCENES[name] for name in scenes])
        scene = str(rng.choice(scenes, p=chances / chances.sum()))
    height, width = photo.shape[:2]
    long_side = max(height, width)
    glare = rng.uniform(0, 5) * (rng.random() < 0.5)
    light = brighten(to_linear(photo), glare)
    radius = long_side * np.exp(rng.uniform(np.log(LEVEL_RADII[0] * 1.1), np.log(LARGEST_RADIUS.get(scene, 0.026))))
    moved_path, shaken_path = (arc_path, tremor_path) if held_out else (straight_path, shake_path)

    if cutout is not None:
        background, front, region = light, brighten(to_linear(cutout[0]), glare), cutout[1]
        subject = region
    else:
        region = soften(subject if subject is not None else random_region(rng, height, width))
        background, front = None, light

    def behind() -> np.ndarray:
        return fill_hole(light, np.clip(region * 1.5, 0, 1)) if background is None else background

    everywhere = np.ones((height, width), np.float32)
    sharp = identity_kernel()
    kind = "defocus"
    if scene == "sharp":
        layers, kind = [Layer(light, everywhere, sharp)], ""
        if background is not None:
            layers.append(Layer(front, region, sharp))
    elif scene in ("background", "panning"):
        if scene == "panning":
            kind = "motion"
            kernel = path_kernel(scaled_path(moved_path(rng), radius * 1.3))
        else:
            kernel = defocus_kernel(rng, radius, held_out)
        layers = [Layer(behind(), everywhere, kernel), Layer(front, region, sharp)]
    elif scene in ("subject", "moving-subject"):
        if scene == "moving-subject":
            kind = "motion"
            kernel = path_kernel(scaled_path(moved_path(rng), radius))
        else:
            kernel = defocus_kernel(rng, radius, held_out)
        layers = [Layer(behind(), everywhere, sharp), Layer(front, region, kernel)]
    elif scene == "turning-subject":
        kind = "motion"
        layers = [Layer(behind(), everywhere, sharp), Layer(front, region, random_turn(rng, region, radius))]
    elif scene == "turning-frame":
        kind = "motion"
        turn = random_turn(rng, everywhere if rng.random() < 0.5 else region, radius)
        layers = [Layer(light, everywhere, turn)]
        if background is not None:
            layers.append(Layer(front, region, turn))
    elif scene in ("frame", "shake"):
        if scene == "shake":
            kind = "camera-shake"
            kernel = path_kernel(scaled_path(shaken_path(rng), radius))
        else:
            kernel = defocus_kernel(rng, radius, held_out)
        layers = [Layer(light, everywhere, kernel)]
        if background is not None:
            layers.append(Layer(front, region, kernel))
    else:  # depth: a plane in focus, blur growing away from it, and the subject at its own depth
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        angle = rng.normal(np.pi / 2, 0.3) if rng.random() < 0.7 else rng.uniform(0, np.pi)
        depth = np.cos(angle) * x / width + np.sin(angle) * y / height
        depth = (depth - depth.min()) / np.ptp(depth)
        focus, depth_of_field = rng.uniform(0, 1), rng.uniform(0.02, 0.3)
        amount = np.clip(np.abs(depth - focus) - depth_of_field, 0, None)
        field = amount / max(amount.max(), 1e-6) * radius
        own_depth = rng.random() < 0.5
        blurred = blur_by_depth(behind() if own_depth else light, field, rng)
        composed, seen = blurred, field
        if own_depth:
            composed, _ = composite([Layer(blurred, everywhere, sharp), Layer(front, region, sharp)])
            seen = np.where(region > 0.5, 0, field)
        else:
            subject = None

    if scene != "depth":
        composed, seen = composite(layers)
    levels = levels_of(seen, long_side)
    if scene in ("frame", "shake") and subject is None:  # the subject, whatever it is, is in the frame
        label = BAD_BLUR if levels[0, 0] >= 2 else OK_BLUR
    else:
        label = judge(levels, subject)
    return Sample(develop(composed, rng), levels, amounts_of(seen, long_side), subject, label, kind, scene)


def develop(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Linear light to an 8-bit photo with a camera's noise (shot and read noise, before the tone curve)."""
    if rng.random() < 0.6:
        shot, read = rng.uniform(0, 0.01), rng.uniform(0, 0.004)
        grain = ndimage.gaussian_filter(rng.normal(size=light.shape), (rng.uniform(0, 0.8),) * 2 + (0,))
        light = light + grain * np.sqrt(np.clip(light, 0, 1) * shot**1.5 + read**2)
    return np.clip(np.rint(to_srgb(light)), 0, 255).astype(np.uint8)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def encode_png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()
