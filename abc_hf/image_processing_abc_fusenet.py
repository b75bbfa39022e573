# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Photos to `pixel_values`, label maps to labels, and the network's maps back to the photo.

One class, on Pillow and NumPy: torchvision is not needed. This file travels to the Hub with the weights.
"""

import math
from typing import Any

import numpy as np
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import ChannelDimension, ImageInput, PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs, Unpack

from .photos import working_shape

UNKNOWN = 255
"""A pixel of a label map without a label."""


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An h x w map, bilinearly resized (pixel areas aligned, no overshoot) to `size`, (height, width); float32."""
    height, width = size
    return np.array(Image.fromarray(np.asarray(values, np.float32)).resize((width, height), Image.Resampling.BILINEAR))


def eight_bits(image):
    """A grey PIL image of 16 bits, or an array of them, scaled to 8; a tensor on the CPU; anything else as it is."""
    if hasattr(image, "cpu"):
        return image.cpu()
    if isinstance(image, Image.Image) and image.mode.startswith("I"):
        image = np.asarray(image)
        image = np.clip(image, 0, 65535).astype(np.uint16)
        return Image.fromarray(eight_bits(image))
    if isinstance(image, np.ndarray) and image.dtype == np.uint16:
        return np.rint(image / np.float32(257)).astype(np.uint8)
    return image


class ABCFuseNetImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    size_divisor (`int`, *optional*, defaults to `self.size_divisor`):
        The padded height and width are multiples of it: the stride of the network.
    """

    size_divisor: int


class ABCFuseNetImageProcessor(PilBackend):
    """Prepares photos for ABC-FuseNet and takes its outputs back to them.

    A photo is resized so that its long side is at most `size["longest_edge"]` (aspect kept, never enlarged), scaled to
    -1..1, and padded at the bottom and the right by reflection to a multiple of `size_divisor`. Photos of different
    sizes in one call are padded to the largest of them. Padding changes an answer a little. So call with photos of one
    shape if answers must not depend on the other photos.
    """

    valid_kwargs = ABCFuseNetImageProcessorKwargs
    model_input_names = ["pixel_values"]
    do_convert_rgb = True
    do_resize = True
    size: Any = {"longest_edge": 512}
    """A dict in the class, a `SizeDict` in its objects."""
    default_to_square = False
    resample = PILImageResampling.BICUBIC
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    do_pad = True
    size_divisor = 32

    def __init__(self, **kwargs: Unpack[ABCFuseNetImageProcessorKwargs]):
        super().__init__(**kwargs)  # type: ignore[misc]  # it takes all `valid_kwargs`

    def preprocess(
        self, images: ImageInput, blur_maps: ImageInput | None = None, **kwargs: Unpack[ABCFuseNetImageProcessorKwargs]
    ) -> BatchFeature:
        """Prepare one photo or a list of them.

        Args:
            images: PIL images, or arrays or tensors of values in 0..255; arrays of uint16 have values in 0..65535.
            blur_maps: a label map per photo, of its height and width and one channel: blur levels 0..3, 254 (blurred,
                amount unknown) or 255 (unknown). They are resized to the nearest label and padded with 255.

        Returns:
            `pixel_values` (B, 3, H, W), in -1..1, and with `blur_maps` also `blur_labels` (B, H, W), int64. Lists of
            arrays without `return_tensors`.
        """
        if isinstance(images, list | tuple) and not images:
            raise ValueError("There is no photo in the list; give one or more.")
        images = [*map(eight_bits, images)] if isinstance(images, list | tuple) else eight_bits(images)
        return super().preprocess(images, blur_maps, **kwargs)

    def _standardize_kwargs(self, size=None, **kwargs) -> dict:  # type: ignore[override]  # called by name alone
        if isinstance(size, int):
            size = {"longest_edge": size}
        kwargs = super()._standardize_kwargs(size=size, **kwargs)
        if set(dict(kwargs["size"] or {})) != {"longest_edge"} or kwargs["size"].longest_edge < 1:
            raise ValueError(f'size must be {{"longest_edge": pixels}}; got {size}.')
        return kwargs

    def _preprocess_image_like_inputs(  # type: ignore[override]  # called by name alone
        self, images, blur_maps, do_convert_rgb, input_data_format, return_tensors, **kwargs
    ) -> BatchFeature:
        images = self._prepare_image_like_inputs(
            images, do_convert_rgb=do_convert_rgb, input_data_format=input_data_format
        )
        data = {"pixel_values": self._preprocess(images, **kwargs)}
        if blur_maps is not None:
            blur_maps = self._prepare_image_like_inputs(
                blur_maps, expected_ndims=2, do_convert_rgb=False, input_data_format=ChannelDimension.FIRST
            )
            shapes, expected = [blur_map.shape[-2:] for blur_map in blur_maps], [image.shape[-2:] for image in images]
            if shapes != expected:
                raise ValueError(f"blur_maps must have the shapes of their photos, {expected}; got {shapes}.")
            kwargs |= {"resample": PILImageResampling.NEAREST, "do_rescale": False, "do_normalize": False}
            labels = self._preprocess([values.astype(np.uint8) for values in blur_maps], fill_value=UNKNOWN, **kwargs)
            data["blur_labels"] = [label[0].astype(np.int64) for label in labels]
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _preprocess(  # type: ignore[override]  # called by name alone
        self,
        images: list[np.ndarray],
        do_resize: bool,
        size: SizeDict,
        resample: PILImageResampling,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: tuple[float, ...],
        image_std: tuple[float, ...],
        do_pad: bool,
        size_divisor: int,
        fill_value: int | None = None,
        **kwargs,
    ) -> list[np.ndarray]:
        """Pad (C, height, width) arrays to (C, H, W), by reflection or with `fill_value` if it is given."""
        processed = []
        for image in images:
            if do_resize:
                image = self.resize(image, size, resample)
            if do_rescale:
                image = self.rescale(image, rescale_factor)
            if do_normalize:
                image = self.normalize(image, image_mean, image_std)
            processed.append(image)
        if not do_pad:
            return processed
        largest = np.max([image.shape[1:] for image in processed], axis=0)
        height, width = (math.ceil(side / size_divisor) * size_divisor for side in largest)
        mode: dict = {"padding_mode": "reflect"} if fill_value is None else {"fill_value": fill_value}
        padded = self.pad(processed, pad_size=SizeDict(height=height, width=width), **mode)
        return padded  # type: ignore[return-value]  # a pair only with return_mask

    def resize(  # type: ignore[override]  # `size` is always given
        self, image: np.ndarray, size: Any, resample: PILImageResampling, **kwargs
    ) -> np.ndarray:
        """Resize (C, height, width) to its `working_shape` with Pillow, which antialiases."""
        height, width = working_shape(image.shape[-2], image.shape[-1], size.longest_edge)
        if (height, width) == image.shape[-2:]:
            return image
        return super().resize(image, SizeDict(height=height, width=width), resample, **kwargs)

    def crop_map(self, values, photo_size: tuple[int, int]):
        """Cut the padding off a map of the network (..., H, W), an array or a tensor. `photo_size` is the (height,
        width) of the photo as this processor got it."""
        height, width = working_shape(*photo_size, self.size.longest_edge)
        return values[..., :height, :width]

    def post_process_blur_understanding(
        self, outputs, target_sizes: list[tuple[int, int]] | None = None, resize: bool = False
    ) -> list[dict]:
        """Probabilities and maps of each photo.

        Args:
            outputs: of `ABCFuseNetForBlurUnderstanding`: `logits` (B, 4), `kind_logits` (B, 3), `blur_map` and
                `attention_map` (B, 1, H, W).
            target_sizes: the (height, width) of each photo as this processor got it. Without them the maps keep their
                padding.
            resize: bring the maps to `target_sizes`; else they stay small, and `resize_map` enlarges them later.

        Returns:
            for each photo `probabilities` and `kind_probabilities`, float32 NumPy (4,) and (3,), and `blur_map` and
            `attention_map`, float32 tensors h x w in 0..1 on the CPU.
        """
        probabilities, kinds = (outputs[name].float().softmax(-1).cpu().numpy() for name in ("logits", "kind_logits"))
        if target_sizes is None:
            if resize:
                raise ValueError("resize=True needs target_sizes, the (height, width) of each photo.")
            target_sizes = [None] * len(probabilities)
        if len(target_sizes) != len(probabilities):
            raise ValueError(f"target_sizes has {len(target_sizes)} sizes for {len(probabilities)} photos.")

        reports = []
        for index, target_size in enumerate(target_sizes):
            report = {"probabilities": probabilities[index], "kind_probabilities": kinds[index]}
            for name in ("blur_map", "attention_map"):
                values = outputs[name][index, 0].float().cpu()
                if target_size is not None:
                    values = self.crop_map(values, target_size)
                    values = values.new_tensor(resize_map(values.numpy(), target_size)) if resize else values
                report[name] = values
            reports.append(report)
        return reports
