"""ABC-FuseNet: where a photo is blurred, what matters in it, and whether the blur is wanted.

Importing `abc_hf` imports neither torch nor transformers. The public names load when they are first used. The Auto
classes of transformers and `pipeline("blur-understanding", ...)` know the model as soon as they are imported.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from .common.imports import after_import

if TYPE_CHECKING:
    from .library.assess import Assess
    from .registration import (
        VARIANTS,
        ABCFuseNetConfig,
        ABCFuseNetForBlurUnderstanding,
        ABCFuseNetImageProcessor,
        ABCFuseNetModel,
        BlurReport,
        BlurUnderstandingPipeline,
        load_photo,
        load_pipeline,
    )

__all__ = [
    "VARIANTS",
    "ABCFuseNetConfig",
    "ABCFuseNetForBlurUnderstanding",
    "ABCFuseNetImageProcessor",
    "ABCFuseNetModel",
    "Assess",
    "BlurReport",
    "BlurUnderstandingPipeline",
    "load_photo",
    "load_pipeline",
]

try:
    __version__ = version("abc-fusenet")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"


def register() -> None:
    """Make the Auto classes and `pipeline` of transformers know the model."""
    from . import registration  # noqa: F401


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import registration

    if name == "Assess":  # it needs more, which others need not wait for
        from .inference import Assess

        return Assess
    globals().update({public: getattr(registration, public) for public in __all__ if public != "Assess"})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


after_import("transformers.models.auto", {"abc_hf", "transformers"}, register)
