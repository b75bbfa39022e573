"""Train ABC-FuseNet: `accelerate launch train_accelerate.py --dataset_name FOLDER_OR_NAME --output_dir DIR`.

The paper's three phases, each a preset in abc_hf/training/recipes.py: saliency (attention learns salient objects), blur
(the blur map learns levels) and joint (everything, with the desirability of the photo). The best weights by the
validation split are kept, with the run's settings and scores beside them. Without a data set, a small one is made to
try it with.
"""

import contextlib
import dataclasses
import datetime
import itertools
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration, is_tensorboard_available, set_seed
from datasets.distributed import split_dataset_by_node
from huggingface_hub import HfApi, RepoUrl
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers.utils import logging as transformers_logging

from abc_hf.common.files import check_results
from abc_hf.configuration_abc_fusenet import DESIRABILITY, VARIANTS, ABCFuseNetConfig
from abc_hf.data.sample import NEXT_COMMAND, sample_settings
from abc_hf.data.splits import digest_of_rows, load_splits
from abc_hf.evaluation.records import predict, score_photo
from abc_hf.evaluation.scoring import evaluate, for_json, selection_score
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor
from abc_hf.inference.allocator import keep_freed_memory
from abc_hf.inference.engines import SLOW_BFLOAT16, has_bfloat16
from abc_hf.inference.loading import load_pipeline
from abc_hf.modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from abc_hf.training import run_log
from abc_hf.training.batches import (
    LABELS_OF_PHASE,
    StepSampler,
    StreamedPhotos,
    TrainingPhotos,
    classifier_rows,
    rows_by_group,
    seed_dropout,
)
from abc_hf.training.checkpoints import find_checkpoint, pick_by, share_weights
from abc_hf.training.classifier import (
    FusedPhoto,
    fit_certainty,
    fit_classifier,
    fit_temperature,
    fuse_photos,
    fuse_rows,
)
from abc_hf.training.fresh_photos import FreshPhotos
from abc_hf.training.parts import load_trunk_weights
from abc_hf.training.phase_run import PhaseRun
from abc_hf.training.run_log import RunLog
from abc_hf.training.settings import RESNET, TrainSettings, parse_settings
from abc_hf.verdicts import follows

logger = logging.getLogger("abc_hf.train_accelerate")

MOST_ROWS = 4000
"""Rows of each group that the classifier's features are kept of (0.5 MB each)."""
FRESH, FRESH_BATCH = 2000, 8
"""Photos with fresh blur that the classifier learns from, and how many are made at a time."""
RESULTS = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json", "run.json", "all_results.json"]
"""Files that a run writes into `output_dir`, and that must not replace others there."""
NOT_UPLOADED = ["checkpoints/*", "best-*/*", "last-*/*", "logs/*", "sample-data/*"]


def build_model(settings: TrainSettings) -> ABCFuseNetForBlurUnderstanding:
    changed = {} if settings.dropout is None else {"fusion_dropout": settings.dropout}
    if settings.model_name_or_path:
        return load_model(settings.model_name_or_path, **changed)
    model = ABCFuseNetForBlurUnderstanding(
        ABCFuseNetConfig(**VARIANTS[settings.variant] | settings.overrides() | changed)
    )
    content = settings.content_weights or (RESNET if settings.variant == "paper" else "none")
    for name, source in (("blur", settings.blur_weights), ("content", content)):
        if source not in (None, "none"):
            load_trunk_weights(model.abc_fusenet.trunks[name], source)
    return model


def load_model(source, **changed) -> ABCFuseNetForBlurUnderstanding:
    return ABCFuseNetForBlurUnderstanding.from_pretrained(source, dtype=torch.float32, **changed)


def plan_phase(name: str, train, settings: TrainSettings, accelerator: Accelerator):
    """The preset of a phase, with the steps that follow from the rows and the photos of a step."""
    phase = settings.preset(name)
    processes = accelerator.num_processes
    photos = settings.device_batch(phase, processes) * settings.gradient_accumulation_steps * processes
    phase = dataclasses.replace(phase, batch_size=photos)
    if settings.num_train_epochs is None:
        return phase
    rows = sum(len(rows) for rows in rows_by_group(train, name, phase.mix).values())
    return settings.with_epochs(phase, rows, photos)


def training_batches(name: str, phase, processor, train, settings: TrainSettings, accelerator: Accelerator, step: int):
    """A loader of this process's batches of a phase, from those of the step after `step` on."""
    batch_size = settings.device_batch(phase, accelerator.num_processes)
    accumulation = settings.gradient_accumulation_steps
    share = {"process": accelerator.process_index, "processes": accelerator.num_processes}
    photos = TrainingPhotos(train, processor, phase.crop, phase.scales, settings.seed, settings.augment, phase.amounts)
    logger.info(f"  a step: {batch_size} photos x {accumulation} batches x {accelerator.num_processes} processes")
    if settings.streaming:
        first = step * accumulation * batch_size
        logger.info("  a stream: rows come in its own mixture")
        stream = split_dataset_by_node(train, accelerator.process_index, accelerator.num_processes)
        data = StreamedPhotos(stream, photos, LABELS_OF_PHASE[name], first, **share)
        workers = min(1, settings.dataloader_num_workers)  # more would each read the whole stream
        return torch.utils.data.DataLoader(data, batch_size=batch_size, num_workers=workers)
    groups = rows_by_group(train, name, phase.mix, phase.emphasis)
    first, last = step * accumulation, phase.steps * accumulation
    if settings.photos_on_device:
        logger.info("  sharp photos get fresh blur for the synthetic share, on the device")
        device, seed = accelerator.device, settings.seed
        return FreshPhotos(train, groups, phase, processor, device, seed, first, last, batch_size, **share)
    logger.info("  rows: " + ", ".join(f"{len(np.unique(rows))} {group}" for group, rows in groups.items()))
    sampler = StepSampler(groups, phase.mix, settings.seed, first, last, batch_size, **share)
    return torch.utils.data.DataLoader(photos, batch_sampler=sampler, num_workers=settings.dataloader_num_workers)


def train_phase(name: str, model, processor, splits, settings: TrainSettings, log: RunLog, checkpoint: Path | None):
    """Train one phase, from a checkpoint on; returns the model with the best weights by the validation split."""
    (train, validation), accelerator = splits, log.accelerator
    phase = plan_phase(name, train, settings, accelerator)
    logger.info(f"phase {name}: {phase}")
    run = PhaseRun(name, phase, model, settings, accelerator, log)
    if checkpoint is not None:
        run.restore(checkpoint)
    batches = iter(training_batches(name, phase, processor, train, settings, accelerator, run.step))
    shown = run_log.sample_rows(validation, "salient_mask" if name == "saliency" else "blur_map")
    waited, trained = 0.0, 0.0
    bar = tqdm(total=phase.steps, initial=run.step, desc=name, disable=not accelerator.is_main_process)
    while run.step < phase.steps:
        started = time.perf_counter()
        group = list(itertools.islice(batches, settings.gradient_accumulation_steps))
        waited += time.perf_counter() - started
        run.learn(group)
        bar.update()
        logs, scores_due, saves = (
            run.step == phase.steps or run.step % every == 0
            for every in (settings.logging_steps, settings.eval_steps, settings.checkpointing_steps)
        )
        if logs or scores_due or saves:
            run.fetch_losses()
        trained += time.perf_counter() - started
        if logs:
            bar.set_postfix(loss=f"{run.log_loss():.4f}")
        if scores_due:
            run.score(processor, validation, shown)
        if saves:
            run.save(log.out / "checkpoints" / name)
    bar.close()
    if trained:
        log.account.setdefault("waiting_share", {})[name] = round(waited / trained, 4)
        logger.info(f"{name}: {waited / trained:.1%} of {trained:.0f} s of training was waiting for data")
    if run.skipped:
        logger.info(f"{name}: left out {run.skipped} steps, because their gradients were no numbers")
    log.save(run.judged, processor, log.out / f"last-{name}")
    accelerator.wait_for_everyone()
    return load_model(run.best_folder)


def train_classifier(model, processor, splits, settings: TrainSettings, log: RunLog):
    """Train the classifier alone, on features of whole photos that the frozen branches compute once."""
    (train, validation), accelerator = splits, log.accelerator
    phase = settings.preset("classifier")
    stored = dict(phase.mix)
    if settings.photos_on_device:  # fresh blur in place of stored synthetic photos
        stored.pop("synthetic")
    rows, weights = classifier_rows(train, dataclasses.replace(phase, mix=stored), MOST_ROWS)
    phase = settings.with_epochs(phase, len(rows), phase.batch_size)
    logger.info(f"phase classifier: {phase}")
    folder = log.out / "best-classifier"
    if settings.resume_from_checkpoint and (folder / "run.json").is_file():
        record = json.loads((folder / "run.json").read_text())
        log.restore(record["history"])
        log.say_changed_data(record["data"])
        logger.info(f"The run resumes from {folder}.")
        return load_model(folder)
    model = model.to(accelerator.device, memory_format=torch.channels_last)
    with accelerator.autocast():
        fused = fuse_rows(model, processor, train.select(rows))
        if settings.photos_on_device:
            fresh = fuse_fresh(model, processor, train, phase, settings.seed, accelerator)
            weights += [phase.mix["synthetic"] / len(fresh)] * len(fresh)
            fused += fresh
    model.classifier.train()
    seed_dropout(settings.seed)
    fit_classifier(model.classifier, fused, phase, weights, settings.seed)
    share_weights(model.classifier)
    scores = evaluate(model.eval(), processor, validation, phase.branches, settings.max_eval_samples)
    log.log(phase="classifier", step=phase.steps, selection=pick_by(selection_score, scores, phase.branches), **scores)
    logger.info(f"classifier: score {log.history[-1]['selection']:.4f} (all scores are in metrics.jsonl)")
    log.save(model, processor, folder, scores=log.history[-1], history=log.history)
    accelerator.wait_for_everyone()
    return load_model(folder)  # as a resumed run does: gradients and modes of this phase stay here


def fuse_fresh(model, processor, train, phase, seed: int, accelerator: Accelerator) -> list[FusedPhoto]:
    """`FRESH` whole photos with new blur, as the classifier sees them. Those of unknown class are left out."""
    side = processor.size["longest_edge"]
    whole = dataclasses.replace(phase, crop=side, scales=(1.0, 1.0), mix={"synthetic": 1.0})
    groups, batches = rows_by_group(train, "classifier", {"sharp": 1.0}), FRESH // FRESH_BATCH
    data = FreshPhotos(train, groups, whole, processor, accelerator.device, seed, 0, batches, FRESH_BATCH)
    fused = []
    for batch in tqdm(data, total=batches, desc="fresh blur", disable=not accelerator.is_main_process):
        fused += fuse_photos(model, batch)
    return [photo for photo in fused if photo.labels.any()]


def calibrate(model, processor, validation) -> float:
    """Set the temperature, and from which probability verdicts are certain, by the real photos of the validation split;
    returns the temperature."""
    logits, labels, allowed = [], [], []
    for row in validation.filter(lambda source: not source.startswith("synth/"), input_columns="source"):
        if row["desirability"] is not None:
            record = score_photo(0, row, predicted := predict(model, processor, row["image"].convert("RGB")))
            logits.append(predicted["logits"])
            labels.append(row["desirability"])
            label = record.verdict.label  # if the maps rule the most probable class out, the verdict is never certain
            likeliest = label == DESIRABILITY[int(predicted["logits"].argmax())]
            allowed.append(likeliest and follows(label, record.verdict.kind, record.facts))
    if not logits:
        return model.config.temperature
    scores, truth = torch.from_numpy(np.stack(logits)) * model.config.temperature, torch.tensor(labels)
    model.config.temperature = fit_temperature(scores, truth)
    confidence, found = (scores / model.config.temperature).softmax(-1).max(-1)
    model.config.certain_from = fit_certainty(confidence.numpy(), (found == truth).numpy(), np.array(allowed))
    return model.config.temperature


def run(settings: TrainSettings) -> None:
    tensorboard = ["tensorboard"] if is_tensorboard_available() else []
    trackers = tensorboard if settings.report_to is None else [name for name in settings.report_to if name != "none"]
    demonstration = settings.dataset_name is None
    out = Path(settings.output_dir)
    check_results(out, "metrics.jsonl", RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings.allow_tf32
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        cpu=settings.cpu,
        step_scheduler_with_optimizer=False,
        log_with=trackers or None,
        project_config=ProjectConfiguration(project_dir=out, logging_dir=out / "logs"),
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=datetime.timedelta(hours=2))
        ],  # the first one may evaluate long
    )
    logging.getLogger("abc_hf").setLevel(logging.INFO if accelerator.is_main_process else logging.ERROR)
    # before anything is written over another run's files
    checkpoints = {
        name: find_checkpoint(settings.resume_from_checkpoint, out / "checkpoints" / name) for name in settings.phases()
    }
    set_seed(settings.seed)
    if accelerator.device.type == "cpu":
        keep_freed_memory(2**31 - 1)
        if accelerator.mixed_precision == "bf16" and not has_bfloat16():
            logger.info(f"{SLOW_BFLOAT16}: train without --mixed_precision")
    if settings.push_to_hub and accelerator.is_main_process:
        make_repository(settings, out)  # now, so that a wrong token is noticed before the training
    with accelerator.main_process_first():
        if demonstration:
            settings = sample_settings(settings, out)
        splits = load_splits(settings)
    data = {"train": digest_of_rows(splits[0]), "validation": digest_of_rows(splits[1])}
    log = RunLog(accelerator, out, settings.record(), data)
    if trackers:
        plain_settings = {k: v for k, v in settings.record().items() if isinstance(v, int | float | str)}
        accelerator.init_trackers("abc-fusenet", config=plain_settings)
    processor = ABCFuseNetImageProcessor(size={"longest_edge": settings.working_size})
    model = build_model(settings)
    logger.info(f"recipe {settings.recipe}; phases {', '.join(settings.phases())}; code {log.account['code']}")
    for split, facts in data.items():
        logger.info(f"{split}: {facts['rows']} rows, digest {facts['digest']}")

    for name in settings.phases():
        if name == "classifier":
            model = train_classifier(model, processor, splits, settings, log)
        else:
            model = train_phase(name, model, processor, splits, settings, log, checkpoints[name])
        accelerator.free_memory()
    model = model.to(accelerator.device)
    if settings.phases()[-1] in ("classifier", "joint"):
        temperature = calibrate(model.eval(), processor, splits[1])
        logger.info(f"calibrated on the validation split: temperature {temperature:.3f}")

    best = run_log.best_scores(log.history)
    log.save(model, processor, out, scores=best, history=log.history)
    if accelerator.is_main_process:
        (out / "all_results.json").write_text(json.dumps(for_json(best), indent=2) + "\n")
        (out / "README.md").write_text(run_log.model_card(log.account, best))
        logger.info(f"trained weights: {out} (with curves.png, samples/, run.json; README.md is a model card)")
        if settings.push_to_hub:
            push(settings, out, log.account, best)
    accelerator.end_training()
    if demonstration:
        logger.info(NEXT_COMMAND.format(out=out))


@contextlib.contextmanager
def hub_in_a_sentence(name: str) -> Iterator[None]:
    """Turn an error of the Hub into a ValueError of one sentence."""
    from abc_hf.common.hub import sentence

    try:
        yield
    except Exception as error:
        if (said := sentence(error, name, "python -m hub.push_model uploads a trained folder")) is None:
            raise
        raise ValueError(said) from error


def make_repository(settings: TrainSettings, out: Path) -> RepoUrl:
    """The repository to push to, made if need be. Raises ValueError where the Hub refuses."""
    from abc_hf.common.hub import check_token

    name = settings.hub_model_id or out.resolve().name
    with hub_in_a_sentence(name):
        if settings.hub_token is None:
            check_token()
        return HfApi(token=settings.hub_token).create_repo(
            name, private=settings.hub_private_repo or None, exist_ok=True
        )


def push(settings: TrainSettings, out: Path, account: dict, scores: dict) -> None:
    url = make_repository(settings, out)
    with tempfile.TemporaryDirectory() as made:  # config.json that names the pipeline's code, and that code
        load_pipeline(out, device="cpu").save_pretrained(made)
        shutil.copytree(made, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model.safetensors"))
    (out / "README.md").write_text(run_log.model_card(account, scores, url.repo_id))
    with hub_in_a_sentence(url.repo_id):
        api = HfApi(token=settings.hub_token)
        api.upload_folder(repo_id=url.repo_id, folder_path=out, ignore_patterns=NOT_UPLOADED)
    logger.info(f"uploaded: {url}")


def main(argv: list[str] | None = None) -> None:
    settings = parse_settings(argv, __doc__.split("\n\n")[0])
    transformers_logging.disable_progress_bar()  # of loading weights
    package, lines = logging.getLogger("abc_hf"), logging.StreamHandler(sys.stdout)
    package.addHandler(lines)
    try:
        with logging_redirect_tqdm([package]):
            run(settings)
    except (ValueError, OSError) as error:  # of the user's data, weights or options
        sentence = str(error).strip()
        if "Original Traceback" in sentence:  # of a loader's process
            sentence = sentence.splitlines()[-1].removeprefix("ValueError: ")
        sys.exit(f"train_accelerate.py: {sentence}")
    finally:
        package.removeHandler(lines)
        package.setLevel(logging.NOTSET)


if __name__ == "__main__":
    main()
