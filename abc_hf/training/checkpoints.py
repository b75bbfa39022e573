"""Checkpoints, the moving average of the weights, and what the best are picked by."""

import copy
import math
import shutil
from pathlib import Path

import torch
from accelerate.utils import broadcast
from torch import nn


def find_checkpoint(wanted: str | None, folder: Path) -> Path | None:
    """The checkpoint to resume from: the one that is wanted, or with "latest" the last complete one, if there is any.

    Raises ValueError if none is wanted but the folder holds some, which the run would mix with its own.
    """
    found = sorted(folder.glob("step-*[0-9]"), key=lambda path: int(path.name[5:]))
    if wanted is None:
        if found:
            raise ValueError(
                f"{folder} holds checkpoints of another run: add --resume_from_checkpoint latest to go on with it, or "
                "choose another --output_dir."
            )
        return None
    if wanted != "latest":
        return Path(wanted)
    return found[-1] if found else None


def save_checkpoint(accelerator, folder: Path, step: int, extra: dict, limit: int) -> None:
    """Write `folder/step-NNNNNN` and drop all but the last `limit`; it has its name only once it is complete."""
    partial, complete = folder / f"step-{step:06d}.partial", folder / f"step-{step:06d}"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(partial)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        torch.save(extra, partial / "extra.pt")
        shutil.rmtree(complete, ignore_errors=True)
        partial.rename(complete)
        kept = sorted(folder.glob("step-*[0-9]"), key=lambda path: int(path.name[5:]))
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


class MovingAverage:
    """Exponential moving average of a model's parameters and BatchNorm statistics."""

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs.to(mine.dtype), 1 - decay)
            else:
                mine.copy_(theirs)

    def state_dict(self) -> dict:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
