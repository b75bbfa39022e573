"""Load a pipeline from a folder or from the Hub."""

import math
import os
from pathlib import Path
from typing import TypeGuard

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from PIL import Image

from ..common.files import sha256_of
from ..common.text import first_line
from ..configuration_abc_fusenet import DESIRABILITY, ABCFuseNetConfig
from ..image_processing_abc_fusenet import ABCFuseNetImageProcessor
from ..modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from ..pipeline import BlurUnderstandingPipeline
from . import opening
from .blur_radius import measure
from .engines import load_engine

BUNDLED = Path(__file__).parents[1] / "pretrained" / "mobile"
"""The weights that come with the package."""
FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "run.json")
"""The files read from a repository on the Hub: no code, and no pickles, because these can hold code."""


def load_pipeline(
    model: str | os.PathLike | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    engine: str = "auto",
    at_once: int = 1,
    revision: str | None = None,
    token: str | bool | None = None,
    **options,
) -> BlurUnderstandingPipeline:
    """Load a pipeline. No code of the model is run, and weights are read from safetensors only.

    Args:
        model: a folder, or the name of a repository on the Hub. The default is the weights in the package.
        device: such as "cpu" or "cuda:0". The default is an accelerator if there is one.
        dtype: of the weights. The default is the type in which they were saved.
        engine: one of `abc_hf.inference.engines.ENGINES`. An accelerator has only "auto" and "torch".
        at_once: the threads that judge photos at the same time on a CPU.
        revision, token: of the repository on the Hub.
        options: those of `BlurUnderstandingPipeline`.

    Raises:
        ValueError: if there is no such model, it is damaged or of another kind, or there is no such device or engine.
        ImportError: if the engine needs a package that is not installed.
    """
    name = str(BUNDLED if model is None else model)
    try:
        torch.empty(0, device=device)
    except Exception as error:
        raise ValueError(f'The device {device} cannot be used here ({first_line(error)}); "cpu" always can.') from error
    try:
        folder = name if os.path.isdir(name) else download(name, revision, token)
        kind = ABCFuseNetConfig.get_config_dict(folder)[0].get("model_type")
        if kind != ABCFuseNetConfig.model_type:
            raise ValueError(f"it is of the type {kind}" if kind else "it has no config.json that names a model")
        network, info = ABCFuseNetForBlurUnderstanding.from_pretrained(folder, dtype=dtype, output_loading_info=True)
        if info["missing_keys"]:
            raise ValueError(f"it lacks weights, among them {min(info['missing_keys'])}")
        if network.config.num_labels != len(DESIRABILITY):
            raise ValueError(f"its classifier has {network.config.num_labels} classes, not {len(DESIRABILITY)}")
        check_weights(network)
        processor = ABCFuseNetImageProcessor.from_pretrained(folder)
        check_processor(processor, network.config.stride)
    except Exception as error:
        raise no_model(name, error) from error
    network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    pipe = BlurUnderstandingPipeline(
        model=network,
        image_processor=processor,
        task="blur-understanding",
        device=device,  # type: ignore[arg-type]  # it takes a name as well
        **options,
    )
    pipe.engine, pipe.open_photo = load_engine(engine, pipe.model, at_once), opening.load_photo
    pipe.measure = measure
    return pipe


def check_weights(network: torch.nn.Module) -> None:
    """Raise ValueError for weights that are not finite, because no answer would be a number."""
    for name, values in network.state_dict().items():
        if not torch.isfinite(values).all():
            raise ValueError(f"its weights are damaged: {name} holds values that are not finite")


def check_processor(processor: ABCFuseNetImageProcessor, stride: int) -> None:
    """Raise ValueError for values of preprocessor_config.json that cannot prepare a photo for the network."""

    def is_whole(value) -> TypeGuard[int]:
        return isinstance(value, int) and not isinstance(value, bool)

    def is_number(value) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    def are_numbers(values) -> bool:
        return isinstance(values, list | tuple) and len(values) == 3 and all(map(is_number, values))

    longest_edge, divisor = getattr(processor.size, "longest_edge", None), processor.size_divisor
    steps = ("do_convert_rgb", "do_resize", "do_rescale", "do_normalize", "do_pad")
    wanted = {name: (isinstance(getattr(processor, name), bool), "true or false") for name in steps}
    wanted |= {
        "size": (is_whole(longest_edge) and 32 <= longest_edge <= 8192, "a longest_edge of 32 to 8192 pixels"),
        "resample": (processor.resample in list(Image.Resampling), "the number of one of Pillow's filters"),
        "rescale_factor": (is_number(processor.rescale_factor) and processor.rescale_factor > 0, "a number above 0"),
        "image_mean": (are_numbers(processor.image_mean), "three numbers"),
        "image_std": (are_numbers(processor.image_std) and min(processor.image_std) > 0, "three numbers above 0"),
        "size_divisor": (is_whole(divisor) and divisor > 0 and divisor % stride == 0, f"a multiple of {stride}"),
    }
    for name, (holds, words) in wanted.items():
        if not holds:
            value = getattr(processor, name)
            raise ValueError(f"preprocessor_config.json, {name}: {words} was expected, not {value!r}")


def download(name: str, revision: str | None = None, token: str | bool | None = None) -> Path:
    """The folder of the Hub's cache that holds `FILES` of a repository, all of one commit.

    Raises ValueError for files that do not exist, and for weights that differ from the announced ones: the cache names
    a large file by its announced SHA-256.
    """
    try:
        folder = Path(snapshot_download(name, revision=revision, token=token, allow_patterns=list(FILES)))
    except LocalEntryNotFoundError:
        raise ValueError("the Hub was not asked or did not answer, and the cache here does not hold it") from None
    except RevisionNotFoundError:
        raise ValueError(f"it has no revision {revision}") from None
    except RepositoryNotFoundError:
        raise ValueError("there is no such repository, or it is private and the token may not see it") from None
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            raise
        raise ValueError("the Hub does not accept the token") from None
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise ValueError("it holds no model.safetensors, and weights of other kinds are not loaded: they can run code")
    announced = weights.resolve()
    if len(announced.name) == 64 and sha256_of(announced) != announced.name:  # else it is a copy, and no link
        raise ValueError(f"model.safetensors is damaged; delete {announced}, so that it is downloaded again")
    return folder


def no_model(name: str | os.PathLike, error: Exception) -> ValueError:
    return ValueError(
        f"No ABC-FuseNet model can be loaded from {name} ({first_line(error)}); "
        "give a folder or a Hub repository that holds one."
    )
