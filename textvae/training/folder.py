"""The run folder: what may become one, what a resumed run goes on from."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import re
import shutil
from pathlib import Path

import yaml
from transformers import TrainerCallback

from textvae import weights
from textvae.configuration import TextVAEConfig
from textvae.evaluation.run import SPLITS, fingerprints_of, run_sections
from textvae.inference.text_vae import TextVAE
from textvae.latent.fitted import FITTED
from textvae.recipe import Recipe
from textvae.training.arguments import TextVAETrainingArguments
from textvae.training.stages import WEIGHTS

logger = logging.getLogger(__name__)

RECIPE, CHECKPOINTS, LOGS = "textvae.yaml", "checkpoints", "logs"
REPLACED = ".replaced"  # an older run, until the new one has made a step
# Of `training`: what a checkpoint brings back as it was, or what a run has begun with.
BEGUN_WITH = (
    *("stages", "init_from", "seed", "data_seed", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("tokens_per_batch", "learning_rate", "pretrained_learning_rate", "pretrained_weight_decay", "weight_decay"),
    *("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon", "lr_scheduler_type"),
    *("logging_steps", "eval_steps", "save_steps"),
)


def check_output(folder: Path, resume: bool, overwrite: bool) -> None:
    """Refuses a run folder that would be lost or cannot be made.

    Raises:
        ValueError: what stands in the way.
    """
    if resume and overwrite:
        raise ValueError("--resume goes on with a run and --overwrite throws it away: choose one")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"output_dir: {folder} is a file")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / RECIPE).is_file():
            raise ValueError(f"output_dir: {folder} is not empty and holds no run; choose another folder")
        if not (resume or overwrite):
            raise ValueError(
                f"output_dir: {folder} holds a run; choose another folder, or pass --overwrite to replace it or "
                "--resume to go on with it"
            )
    elif resume:
        raise ValueError(f"--resume: there is no run in {folder}")


def begun(folder: Path) -> bool:
    """Whether there is something to go on from."""
    whole = ("checkpoint-*/trainer_state.json", "stage-*/checkpoint-*/trainer_state.json", f"stage-*/{WEIGHTS}")
    return any(path for pattern in whole for path in (folder / CHECKPOINTS).glob(pattern))


def last_checkpoint(folder: Path) -> str | None:
    """The last checkpoint that was written to its end, which is what the trainer's state tells."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(whole, key=lambda path: int(path.name.split("-")[1]))) if whole else None


def as_begun(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the commits and the fingerprints of pretrained parts with which a run began.

    A branch may have moved on. A commit that the recipe itself names stays, for `check_resumed` to refuse.
    """
    old, model = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8")), dict(recipe.model)
    for side in ("encoder", "decoder"):
        before, now = old["model"][side], model[side]
        if "name" not in now or now["name"] != before.get("name"):
            continue
        revision = now["revision"] if _is_commit(now["revision"]) else before["revision"]
        if now["revision"] and weights.commit(now["name"], now["revision"]) != revision:
            logger.warning("model.%s.revision: goes on with %s, with which it began", side, revision)
        model[side] = now | {"revision": revision, "fingerprint": before.get("fingerprint")}
    tokenizer, before = recipe.tokenizer, old["tokenizer"]
    if tokenizer.path and tokenizer.path == before["path"] and not _is_commit(tokenizer.revision):
        tokenizer = tokenizer.model_copy(update={"revision": before["revision"]})
    return dataclasses.replace(recipe, model=model, tokenizer=tokenizer)


def pinned(recipe: Recipe) -> Recipe:
    """The recipe with the commits that its revisions stand for now, so that all that is loaded is of one state."""
    model, tokenizer = dict(recipe.model), recipe.tokenizer
    for side in ("encoder", "decoder"):
        if "name" in model[side]:
            commit = weights.commit(model[side]["name"], model[side]["revision"])
            model[side] = model[side] | {"revision": commit}
    if tokenizer.kind == "pretrained":
        tokenizer = tokenizer.model_copy(update={"revision": weights.commit(tokenizer.path, tokenizer.revision)})
    return dataclasses.replace(recipe, model=model, tokenizer=tokenizer)


def with_fingerprints(recipe: Recipe, config: TextVAEConfig) -> Recipe:
    """The recipe with the fingerprints that a model's pretrained parts have noted."""
    model = dict(recipe.model)
    for side in ("encoder", "decoder"):
        if "fingerprint" in model[side]:
            model[side] = model[side] | {"fingerprint": getattr(config, side)["fingerprint"]}
    return dataclasses.replace(recipe, model=model)


def _is_commit(revision: str | None) -> bool:
    return bool(re.fullmatch("[0-9a-f]{40}", revision or ""))


def check_resumed(recipe: Recipe, folder: Path) -> None:
    """Refuses to go on with another corpus, model or tokenizer than the run's, or with what would have no effect."""
    old, new = run_sections(folder), yaml.safe_load(recipe.to_yaml())
    for values in (old, new):
        # Of a local source, files may have moved; what is in them, resuming has never looked at.
        values["data"]["source"] = Path(values["data"]["source"]).name
    different = [name for name in ("data", "tokenizer", "model") if old[name] != new[name]]
    # What an objective has learnt fits no other kind, and a discriminator no other size; its optimizer has its rate.
    for key in ("kind", "hidden_size", "learning_rate"):
        if old["objective"].get(key) != new["objective"].get(key):
            different.append(f"objective.{key}")
    if bool(old["training"].get("ema_decay")) != bool(new["training"].get("ema_decay")):
        different.append("training.ema_decay")
    usual = {field.name: field.default for field in dataclasses.fields(TextVAETrainingArguments)}
    for key in BEGUN_WITH:
        before, now = (values["training"].get(key, usual[key]) for values in (old, new))
        if before != now:
            different.append(f"training.{key}")
    if different:
        raise ValueError(
            f"--resume: {' and '.join(different)} differ from {folder / RECIPE}, with which the run was begun; go on "
            f"with that recipe, or begin another run with its weights (training.init_from={folder}, output_dir=OTHER)"
        )


def check_texts(folder: Path, fingerprints: dict[str, str]) -> None:
    """Refuses to go on with other texts than the run's.

    Args:
        folder: of the run.
        fingerprints: of the splits as they are now.
    """
    known = fingerprints_of(folder)
    changed = [name for name, value in known.items() if value != fingerprints[name]]
    if changed:
        raise ValueError(
            f"--resume: the {' and '.join(changed)} texts are not those with which the run was begun; put them back, "
            f"or begin another run with its weights (training.init_from={folder}, output_dir=OTHER)"
        )


def make_folder(recipe: Recipe, tokenizer, fingerprints: dict[str, str], keep: bool) -> None:
    """The run folder with recipe, tokenizer and fingerprints of the splits; what it held is put aside unless kept."""
    folder = recipe.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    if not keep:
        forget_replaced(folder)
        entries = list(folder.iterdir())
        if entries:
            (folder / REPLACED).mkdir()
        for entry in entries:
            entry.rename(folder / REPLACED / entry.name)
    text = recipe.to_yaml()
    if not (folder / RECIPE).is_file() or (folder / RECIPE).read_text(encoding="utf-8") != text:
        (folder / "metrics.json").unlink(missing_ok=True)  # a run that has it is a finished one
        (folder / RECIPE).write_text(text, encoding="utf-8")
    (folder / SPLITS).write_text(json.dumps(fingerprints, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)


def save(vae: TextVAE, folder: Path) -> None:
    """Saves the model of a run; where its weights are others than before, what was made of those goes.

    These are the numbers that were measured, and the prior that was fitted.
    """
    before = _digests(folder)
    vae.save_pretrained(folder)
    if _digests(folder) != before:
        for pattern in ("metrics*.json", "doctor.json", FITTED):
            for file in list(folder.glob(pattern)):
                file.unlink(missing_ok=True)


def _digests(folder: Path) -> dict[str, str]:
    """Of the files of weights."""
    found = {}
    for path in folder.glob("*.safetensors"):
        if path.name != FITTED:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def forget_replaced(folder: Path) -> None:
    """Removes the run that was put aside, if any."""
    if (folder / REPLACED).is_dir():
        shutil.rmtree(folder / REPLACED)


def undo(folder: Path) -> None:
    """Leaves a run folder as it was before `make_folder`: what was put aside is back, or nothing is left."""
    replaced = folder / REPLACED
    for entry in folder.iterdir():
        if entry == replaced:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if not replaced.is_dir():
        with contextlib.suppress(OSError):  # a mounted one
            folder.rmdir()
        return
    for entry in replaced.iterdir():
        entry.rename(folder / entry.name)
    replaced.rmdir()


class ForgetReplaced(TrainerCallback):
    """Removes the run that was put aside once the new one has made a step.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def on_step_end(self, args, state, control, **kwargs):
        """After every update."""
        forget_replaced(self.folder)
