"""Checkpoints, the moving average of the weights, and the score that picks the best."""

import contextlib
import json
import logging
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from safetensors import SafetensorError
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ..common.files import sha256_of
from ..common.text import first_line

logger = logging.getLogger(__name__)

SUMS = "sha256.json"
"""The file of a checkpoint that holds the SHA-256 of its other files."""


def find_checkpoint(wanted: str | None, folder: Path) -> Path | None:
    """The checkpoint to resume from: the one that is wanted, or with "latest" the last undamaged one, if any. Damaged
    ones are logged. Raises ValueError if the wanted one is damaged, or none is wanted but the
    folder holds some of another run."""
    found = sorted(folder.glob("step-*[0-9]"), key=step_of)
    if wanted is None:
        if found:
            raise ValueError(
                f"{folder} holds checkpoints of another run: add --resume_from_checkpoint latest to resume it, or "
                "choose another --output_dir."
            )
        return None
    if wanted != "latest":
        if damaged := damaged_file(Path(wanted)):
            raise ValueError(
                f"--resume_from_checkpoint {wanted}: its file {damaged} is damaged; give an earlier one, or latest."
            )
        return Path(wanted)
    for checkpoint in reversed(found):
        damaged = damaged_file(checkpoint)
        if damaged is None:
            return checkpoint
        logger.warning(f"{checkpoint} is damaged (its file {damaged}); the run resumes from the checkpoint before it.")
    if found:
        logger.warning(f"All checkpoints in {folder} are damaged; the phase starts from the beginning.")
    return None


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def digests(checkpoint: Path) -> dict[str, str]:
    """The SHA-256 of each file of a checkpoint."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != SUMS)
    return {path.relative_to(checkpoint).as_posix(): sha256_of(path) for path in files}


def damaged_file(checkpoint: Path) -> str | None:
    """The name of a file of a checkpoint that is missing, or not as it was written; None if there is none."""
    try:
        written, found = json.loads((checkpoint / SUMS).read_text()), digests(checkpoint)
        return next((name for name, digest in written.items() if found.get(name) != digest), None)
    except (OSError, ValueError, AttributeError):
        return SUMS


@contextlib.contextmanager
def in_a_sentence(folder: Path) -> Iterator[None]:
    """Turn each error of writing a folder into a ValueError of one sentence."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"{folder} cannot be written ({first_line(error)}): make room on the disk, and run the same command with "
            "--resume_from_checkpoint latest; the run resumes from the last undamaged checkpoint."
        ) from error


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which takes the place of `folder` once it is complete."""
    partial = folder.with_name(f"{folder.name}.partial")
    with in_a_sentence(folder):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            yield partial
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def save_checkpoint(accelerator, folder: Path, step: int, extra: dict, limit: int) -> None:
    """Write `folder/step-NNNNNN` and drop all but the last `limit`; it has its name only once it is complete."""
    partial, complete = folder / f"step-{step:06d}.partial", folder / f"step-{step:06d}"
    first = accelerator.is_main_process
    with in_a_sentence(complete), replacing_folder(complete) if first else contextlib.nullcontext():
        accelerator.wait_for_everyone()
        accelerator.save_state(partial)
        accelerator.wait_for_everyone()
        if first:
            torch.save(extra, partial / "extra.pt")
            (partial / SUMS).write_text(json.dumps(digests(partial), indent=1) + "\n")
    if first:
        kept = sorted((path for path in folder.glob("step-*[0-9]") if step_of(path) <= step), key=step_of)
        for path in kept[:-limit]:
            shutil.rmtree(path)
    accelerator.wait_for_everyone()


def share_weights(model: nn.Module) -> None:
    """Give every process the weights and BatchNorm statistics of the first."""
    for tensor in model.state_dict().values():
        broadcast(tensor)


def pick_by(score, scores: dict, branches: tuple[str, ...]) -> float:
    """`score(scores, branches)`, or with synthetic photos in place of real ones where there are none to judge by;
    NaN where there are neither."""
    synthetic = {"blur_real": "blur_synthetic", "desirability_real": "desirability_synthetic"}
    stand_ins = {real: scores[other] for real, other in synthetic.items() if other in scores}
    for source in (scores, scores | stand_ins):
        try:
            value = score(source, branches)
        except KeyError:
            continue
        if math.isfinite(value):
            return value
    return math.nan


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's parameters and BatchNorm statistics, faster at first."""

    def average(mine: Any, theirs: Any, updates: torch.Tensor | int) -> None:
        kept = min(decay, (1 + int(updates)) / (10 + int(updates)))
        if mine[0].is_floating_point():
            torch._foreach_lerp_(mine, theirs, 1 - kept)
        else:
            torch._foreach_copy_(mine, theirs)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True).requires_grad_(False)
