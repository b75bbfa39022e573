"""A phase in progress: its steps, its scores on the validation split, and its checkpoints."""

import contextlib
import logging
import math
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import get_scheduler

from ..evaluation.scoring import evaluate, for_json, selection_score
from ..losses import count_labels
from . import run_log
from .batches import seed_dropout
from .checkpoints import moving_average, pick_by, save_checkpoint, share_weights
from .parts import parameter_groups, train_mode
from .recipes import Phase
from .run_log import RunLog
from .settings import TrainSettings

logger = logging.getLogger(__name__)


class PhaseRun:
    """Network, optimizer and moving average of a phase, and the losses since they were last logged."""

    def __init__(self, name: str, phase: Phase, model, settings: TrainSettings, accelerator: Accelerator, log: RunLog):
        self.name, self.phase, self.settings, self.accelerator, self.log = name, phase, settings, accelerator, log
        self.best_folder = log.out / f"best-{name}"
        model = model.to(memory_format=torch.channels_last)
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        optimizer = torch.optim.AdamW(parameter_groups(model, phase))
        warmup = min(settings.warmup_steps, phase.steps // 4)
        scheduler = get_scheduler(settings.lr_scheduler_type, optimizer, warmup, phase.steps)
        self.average = moving_average(model, settings.ema_decay) if settings.use_ema else None
        self.model, self.optimizer, self.scheduler = accelerator.prepare(model, optimizer, scheduler)
        self.unwrapped = accelerator.unwrap_model(self.model)
        # compiled for training alone, because judged photos have many shapes
        self.network = torch.compile(self.model) if settings.torch_compile else self.model
        self.judged = self.unwrapped if self.average is None else self.average.module.to(accelerator.device)
        self.step, self.best, self.skipped = 0, -math.inf, 0
        self.losses: list[Any] = []  # tensors, numbers once they are fetched

    def restore(self, checkpoint: Path) -> None:
        self.accelerator.load_state(checkpoint)
        extra = torch.load(checkpoint / "extra.pt", weights_only=True)
        self.step, self.best, self.losses = (extra["progress"][name] for name in ("step", "best", "losses"))
        self.log.restore(extra["history"])
        if self.average is not None:
            if extra["average"] is None:
                raise ValueError(f"{checkpoint} holds no moving average: give --no_use_ema, as the run before did.")
            self.average.load_state_dict(extra["average"])
        if not self.best_folder.exists():
            self.best = -math.inf
        logger.info(f"The run resumes from {checkpoint}.")
        self.log.say_changed_data(extra["data"])
        changed = {key for key, value in self.settings.record().items() if extra["settings"].get(key) != value}
        if changed := sorted(changed - {"resume_from_checkpoint", "output_dir"}):
            logger.info(f"Settings that differ from those of the checkpoint: {', '.join(changed)}.")

    def save(self, folder: Path) -> None:
        extra = {
            "progress": {"step": self.step, "best": self.best, "losses": list(self.losses)},
            "history": for_json(self.log.history),
            "settings": self.settings.record(),
            "data": self.log.account["data"],
            "average": None if self.average is None else self.average.state_dict(),
        }
        save_checkpoint(self.accelerator, folder, self.step, extra, self.settings.checkpoints_total_limit)

    def learn(self, batches: list[dict[str, torch.Tensor]]) -> None:
        """Take one step: the gradient of all its batches, divided by the labels of all batches and processes."""
        accelerator, phase = self.accelerator, self.phase
        self.step += 1
        batches = [
            {name: batch[name].to(accelerator.device) for name in ("pixel_values", *phase.losses)} for batch in batches
        ]
        reduction = self.unwrapped.config.blur_loss_reduction
        counted = [count_labels({name: batch[name] for name in phase.losses}, reduction) for batch in batches]
        counts = accelerator.reduce({name: sum(each[name] for each in counted) for name in phase.losses})
        train_mode(self.unwrapped, phase)
        total = torch.zeros((), device=accelerator.device)
        for index, batch in enumerate(batches):
            seed_dropout(self.settings.seed, self.step, index, accelerator.process_index)
            batch["pixel_values"] = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
            with accelerator.no_sync(self.model) if index + 1 < len(batches) else contextlib.nullcontext():
                with accelerator.autocast():
                    loss = self.network(**batch, branches=phase.branches, label_counts=counts).loss
                accelerator.backward(loss * accelerator.num_processes)  # gradients are averaged over processes
            total += loss.detach()
        self.norm = accelerator.clip_grad_norm_(self.unwrapped.parameters(), self.settings.max_grad_norm or math.inf)
        if accelerator.scaler or torch.isfinite(self.norm):
            self.optimizer.step()
        else:  # seen with bfloat16 on a CPU; scaled float16 skips such steps by itself
            self.skipped += 1
        self.scheduler.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.unwrapped)
        self.losses.append(accelerator.reduce(total))

    def fetch_losses(self) -> None:
        """Wait for the losses. Raises ValueError if one is no number."""
        self.losses[:] = [float(value) for value in self.losses]
        if not all(math.isfinite(value) for value in self.losses):
            raise ValueError(
                f"The loss of phase {self.name} is not a number at step {self.step}: try a lower --learning_rate."
            )

    def log_loss(self) -> float:
        mean, rate = sum(self.losses) / len(self.losses), max(self.scheduler.get_last_lr())
        self.log.log(phase=self.name, step=self.step, loss=mean, gradient_norm=float(self.norm), learning_rate=rate)
        self.losses.clear()
        return mean

    def score(self, processor, validation, shown) -> None:
        """Score the weights on the validation split, draw samples, and keep the weights if they are the best."""
        accelerator, branches = self.accelerator, self.phase.branches
        share_weights(self.judged)
        self.judged.eval()
        scores = evaluate(self.judged, processor, validation, branches, self.settings.max_eval_samples)
        score = pick_by(selection_score, scores, branches)
        self.log.log(phase=self.name, step=self.step, selection=score, **scores)
        logger.info(f"{self.name}, step {self.step}: score {score:.4f} (all scores are in metrics.jsonl)")
        if accelerator.is_main_process:
            self.log.draw("curves.png", run_log.curves(self.log.history))
            figure = run_log.samples(self.judged, processor, shown, branches)
            if figure is not None:
                self.log.draw(f"samples/{self.name}-{self.step:06d}.png", figure)
        if score > self.best or not math.isfinite(self.best):
            self.best = score if math.isfinite(score) else -math.inf
            self.log.save(self.judged, processor, self.best_folder, scores=self.log.history[-1])
