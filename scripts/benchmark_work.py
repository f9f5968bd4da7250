"""What benchmark.py measures, each in a process of its own: python scripts/benchmark_work.py WHAT PRESET.

Generated text, models, batches; then one function a measurement.
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

BATCH, VOCABULARY, LATENT = 64, 10_000, 32
WARM_UP, STEPS, REPEATS = 5, 40, 3
SENTENCES = 10_000_000  # of the corpus by which scale is measured


def _recurrent(cell: str) -> dict:
    side = {"kind": "recurrent", "cell": cell, "embedding_size": 256, "hidden_size": 256}
    return {"encoder": side | {"bidirectional": False, "pooling": "last"}, "decoder": side}


_SIDE = {"kind": "transformer", "hidden_size": 256, "num_heads": 4, "positions": "learned", "dropout": 0.0}
# Mean and standard deviation of the number of words come from PTB's training split and from the sample headlines.
PRESETS = {
    "ptb-lstm-256": {"words": (20.9, 10.3), "model": _recurrent("lstm")},
    "ptb-gru-256": {"words": (20.9, 10.3), "model": _recurrent("gru")},
    "ptb-transformer-256": {
        "words": (20.9, 10.3),
        "model": {
            "encoder": _SIDE | {"num_layers": 2, "pooling": "last"},
            "decoder": _SIDE | {"num_layers": 3, "inject": ["embedding"]},
        },
    },
    "headlines-small": {"words": (7.9, 1.4), "model": _recurrent("gru")},
}


# Weights from two Python packages (docs/pretrained.md), and the ways in which z enters the decoder that are measured.
PRETRAINED = "minilm-smollm2"
INJECTIONS = ("memory", "prefix", "embedding", "output", "memory+embedding", "embedding+output")


# ---- Text, models, batches ----


def sentences(preset: str, count: int, seed: int = 0) -> list[np.ndarray]:
    """Word ranks of generated sentences: lengths from a gamma distribution, words from Zipf-Mandelbrot's law."""
    random = np.random.default_rng(seed)
    mean, deviation = PRESETS[preset]["words"]
    lengths = random.gamma((mean / deviation) ** 2, deviation**2 / mean, count).round().clip(1, 82).astype(int)
    law = 1 / (np.arange(VOCABULARY - 5) + 2.7)
    words = random.choice(VOCABULARY - 5, lengths.sum(), p=law / law.sum())
    return np.split(words, lengths.cumsum()[:-1])


def lines(some: list[np.ndarray]) -> Iterator[str]:
    """The same sentences as lines of a text file."""
    return (" ".join(f"w{word}" for word in words) + "\n" for words in some)


def rows(preset: str, count: int) -> list[dict]:
    """The same sentences as encoded rows, from bos to eos."""
    return [{"ids": [1, *(words + 5).tolist(), 2], "length": len(words) + 1} for words in sentences(preset, count)]


def build(preset: str, vocabulary: int = VOCABULARY, latent: int = LATENT):
    """A preset's model, with the random weights of seed 0, on the accelerator where there is one."""
    import torch

    from textvae import TextVAEConfig, TextVAEModel

    torch.manual_seed(0)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    config = TextVAEConfig(vocab_size=vocabulary, latent={"size": latent}, **PRESETS[preset]["model"])
    return TextVAEModel(config).to(device)


def batches(rows: list[dict], device) -> list[dict]:
    """Consecutive batches."""
    from textvae.data.collator import Collator

    collate = Collator(0)
    parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    return [{name: tensor.to(device) for name, tensor in collate(part).items()} for part in parts]


def tokens(batches: list[dict]) -> int:
    """Predicted tokens: all but bos and padding."""
    return sum(int(batch["attention_mask"][:, 1:].sum()) for batch in batches)


def useful_flops(model, batches: list[dict]) -> float:
    """Floating point operations of forward and backward that real tokens need: 6 for each weight they meet.

    Looking vectors up, attention's products, the latent's small matrices and all padding count nothing.
    """
    sides = {"encoder": 0, "decoder": 0}
    for name, weight in model.named_parameters():
        side = name.split(".")[0]
        if side in sides and weight.dim() == 2 and "embedding" not in name and "initial" not in name:
            sides[side] += weight.numel()
    sides["decoder"] += model.decoder.softmax_weight.numel()
    read = sum(int(batch["attention_mask"].sum()) for batch in batches)
    return 6.0 * (sides["encoder"] * read + sides["decoder"] * tokens(batches))


def _synchronise() -> None:
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def seconds(work: Callable[[], None]) -> float:
    """Wall time of a piece of work."""
    _synchronise()
    start = time.perf_counter()
    work()
    _synchronise()
    return time.perf_counter() - start


# ---- What a process measures ----


def roofline() -> dict[str, float]:
    """Best rate of a matrix product of 2048 rows and columns, in GFLOP/s, in each precision."""
    import torch

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    size, best = 2048 if str(device) == "cpu" else 8192, {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        best[name] = max(2 * size**3 / seconds(lambda a=a, b=b: a @ b) / 1e9 for _ in range(15))
    return best


def trained(preset: str) -> dict[str, float]:
    """textvae's step on the reference's batches, on batches of like length, and inside `textvae.train`."""
    import torch

    from textvae import registry
    from textvae.data.sampler import LengthGroupedSampler
    from textvae.hardware import autocast, set_up_process

    set_up_process()
    model = build(preset).train()
    objective = registry.build("objective", registry.resolve("objective", {"kind": "elbo"}, "objective"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(batch):
        with autocast(model.device):
            output = model(**batch)
        objective(output, 0.5).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()

    def rate(some: list[dict]) -> float:
        for batch in some[:WARM_UP]:
            step(batch)
        measured = some[WARM_UP:]
        return tokens(measured) / seconds(lambda: [step(batch) for batch in measured])

    data = rows(preset, BATCH * 200)
    plain = batches(data[: BATCH * (WARM_UP + STEPS)], model.device)
    order = list(LengthGroupedSampler([row["length"] for row in data], BATCH, 0))[: BATCH * (WARM_UP + STEPS)]
    grouped = batches([data[index] for index in order], model.device)
    same_batches, own_batches = rate(plain), rate(grouped)
    flops = useful_flops(model, grouped[WARM_UP:]) / tokens(grouped[WARM_UP:])
    peak = peak_memory()
    return {
        "tokens_per_second": same_batches,
        "grouped_tokens_per_second": own_batches,
        "useful_gflops": own_batches * flops / 1e9,
        "peak_memory_mb": peak,
        "end_to_end_tokens_per_second": end_to_end(preset),
    }


def peak_memory() -> float:
    """Most memory that this process has held so far, in MiB: the accelerator's where there is one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def end_to_end(preset: str) -> float:
    """Tokens a second of `textvae.train`, data and logging in, evaluation out."""
    from textvae.data.sampler import LengthGroupedSampler

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text("".join(lines(sentences(preset, BATCH * 200))))
        run, clock = timed_run(preset, file, "run", (WARM_UP, WARM_UP + STEPS))
        lengths = np.asarray(run.splits["train"]["length"][:])
    order = list(LengthGroupedSampler(lengths, BATCH, 0))[BATCH * WARM_UP : BATCH * (WARM_UP + STEPS)]
    return int(lengths[order].sum()) / (clock[WARM_UP + STEPS] - clock[WARM_UP])


def timed_run(preset: str, file: Path, name: str, steps: tuple[int, ...], **data):
    """`textvae.train` on a text file, in a folder beside it, and the time at the end of some steps."""
    from textvae import train
    from textvae.recipe import make_recipe

    clock, callback = step_clock(steps)
    budget = {"max_steps": WARM_UP + STEPS, "logging_steps": 10, "eval_strategy": "no", "save_strategy": "no"}
    values = {
        "data": {"source": str(file), **data},
        "tokenizer": {"kind": "word", "vocab_size": VOCABULARY},
        "model": PRESETS[preset]["model"] | {"latent": {"size": LATENT}},
        "training": budget | {"log_reconstructions": 0, "per_device_train_batch_size": BATCH, "seed": 0},
    }
    return train(make_recipe(values, [], file.parent / name), callbacks=[callback]), clock


def step_clock(steps: tuple[int, ...]):
    """A dict that gets the time at the end of each of these steps, and the callback that sets it."""
    from transformers import TrainerCallback

    clock: dict[int, float] = {}

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step in steps:
                _synchronise()
                clock[state.global_step] = time.perf_counter()

    return clock, Clock()


def frozen(inject: str) -> dict[str, float]:
    """A step of `textvae.train` with both pretrained parts frozen and z entering by `inject`, names joined by "+".

    Beside it the decoder's own work for the same batches: its forward pass and the gradient of its input, without
    anything that has to do with z.
    """
    import torch

    from textvae import load_recipe, train
    from textvae.data.sampler import LengthGroupedSampler
    from textvae.hardware import autocast, set_up_process

    size, count = 32, WARM_UP + STEPS // 2
    training = {"max_steps": count, "per_device_train_batch_size": size, "eval_strategy": "no", "save_strategy": "no"}
    training |= {"stages": "null", "ema_decay": 0, "seed": 0, "log_reconstructions": 0}
    parts = {"encoder.train": "none", "encoder.beside": "null", "decoder.train": "none", "decoder.beside": "null"}
    parts["decoder.inject"] = f"[{inject.replace('+', ', ')}]"
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"training.{name}={value}" for name, value in training.items()]
        overrides += [f"model.{name}={value}" for name, value in parts.items()]
        # The evaluation at the end of a run is not measured, and short so.
        overrides += ["data.validation_size=0.005", "generation.max_new_tokens=1", "generation.num_beams=1"]
        overrides += [f"output_dir={folder}/run"]
        clock, callback = step_clock((WARM_UP, count))
        run = train(load_recipe("headlines_minilm_smollm2", overrides), callbacks=[callback])
    rows = run.splits["train"]
    order = list(LengthGroupedSampler(rows["length"][:], size, 0))[size * WARM_UP : size * count]
    backbone = run.vae.model.decoder.backbone.eval()
    some = [rows[order[start : start + size]]["ids"] for start in range(0, len(order), size)]
    set_up_process()

    def bare(ids: list[list[int]]) -> None:
        longest = max(map(len, ids))
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in ids], device=backbone.device)
        labels = torch.tensor([row + [-100] * (longest - len(row)) for row in ids], device=backbone.device)
        x = backbone.get_input_embeddings()(tokens[:, :-1]).detach().requires_grad_()
        with autocast(backbone.device):
            logits = backbone(inputs_embeds=x, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()

    for ids in some[:WARM_UP]:
        bare(ids)
    step = (clock[count] - clock[WARM_UP]) / len(some)
    alone = seconds(lambda: [bare(ids) for ids in some]) / len(some)
    return {"seconds_per_step": step, "bare_decoder_seconds": alone, "cost": step / alone}


def reference(preset: str) -> dict[str, float]:
    """The plain step on the same batches, in float32 with Adam; its loss is checked against textvae's first."""
    import torch
    from reference_step import PlainVAE

    from textvae.latent import kl

    model = build(preset).eval()
    plain = PlainVAE(model.config).to(model.device)
    plain.take_weights(model)
    some = batches(rows(preset, BATCH * (WARM_UP + STEPS)), model.device)
    noise = torch.randn(BATCH, LATENT, device=model.device)
    with torch.no_grad():
        ids, mask = some[0]["input_ids"], some[0]["attention_mask"]
        q = model.encode(ids, mask)
        z = (q.mu + (0.5 * q.logvar).exp() * noise)[None]
        rate, _ = kl(q, model.prior, q.log_prob(z), model.prior.log_prob(z))
        ours = float((model.distortion(ids, mask, z)[0] + rate).mean())
        theirs = float(plain.loss(ids, mask, noise))
    if abs(ours - theirs) > 1e-4 * ours:
        raise SystemExit(f"{preset}: the reference's loss is {theirs} and textvae's {ours}")
    del model
    optimizer = torch.optim.Adam(plain.parameters(), lr=1e-4)

    def step(batch):
        loss = plain.loss(batch["input_ids"], batch["attention_mask"], noise[: len(batch["input_ids"])], 0.5)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 5.0)
        optimizer.step()

    for batch in some[:WARM_UP]:
        step(batch)
    measured = some[WARM_UP:]
    time_taken = seconds(lambda: [step(batch) for batch in measured])
    return {
        "reference_tokens_per_second": tokens(measured) / time_taken,
        "reference_peak_memory_mb": peak_memory(),
    }


def generated(preset: str) -> dict[str, float]:
    """Decoding of 1,000 latent vectors to texts of PTB's lengths and of a trained model's uncertainty."""
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    from textvae.hardware import set_up_process
    from textvae.inference.decoding import decode_rows
    from textvae.inference.text_vae import BATCH as AT_ONCE

    set_up_process()
    model = build(preset).eval()
    with torch.no_grad():
        law = _law_of_perplexity(90.0)
        model.decoder.softmax_bias.copy_(torch.from_numpy(law).log().to(model.device))
    lengths = [len(words) for words in sentences(preset, 1000)]

    class Ends(LogitsProcessor):
        """Ends each row after a number of words that its first token tells."""

        def __call__(self, input_ids, scores):
            if input_ids.shape[1] == 1:
                return scores
            left = input_ids[:, 1] - 4 - (input_ids.shape[1] - 1)
            ruled_out = torch.where(left > 0, torch.tensor(model.config.eos_token_id, device=left.device), 0)
            scores = scores.scatter(1, ruled_out[:, None], -torch.inf)
            only_eos = torch.full_like(scores, -torch.inf)
            only_eos[:, model.config.eos_token_id] = 0.0
            return torch.where((left <= 0)[:, None], only_eos, scores)

    def decode(**options):
        with torch.no_grad():
            for start in range(0, 1000, AT_ONCE):
                part = torch.tensor(lengths[start : start + AT_ONCE], device=model.device)
                model.generate(
                    torch.stack([torch.ones_like(part), part + 4], 1),
                    z=torch.randn(len(part), LATENT, device=model.device),
                    logits_processor=LogitsProcessorList([Ends()]),
                    custom_generate=decode_rows,
                    max_new_tokens=82,
                    **options,
                )

    def measure(**options) -> float:
        decode(**options)
        return statistics.median(seconds(lambda: decode(**options)) for _ in range(REPEATS))

    return {
        "greedy_seconds_per_1000": measure(do_sample=False),
        "top_p_seconds_per_1000": measure(do_sample=True, top_p=0.95, top_k=0),
        "words_per_sentence": float(np.mean(lengths)),
    }


def _law_of_perplexity(perplexity: float) -> np.ndarray:
    """Zipf-Mandelbrot's law over the vocabulary, sharpened until its perplexity is the one asked for."""
    low, high = 0.1, 10.0
    for _ in range(60):
        power = (low + high) / 2
        law = (np.arange(VOCABULARY) + 2.7) ** -power
        law /= law.sum()
        flat = np.exp(-(law * np.log(law)).sum()) > perplexity
        low, high = (power, high) if flat else (low, power)
    return law


def importance_weighted(preset: str) -> dict[str, float]:
    """iw_nll with 500 samples: textvae's, and one sentence and one sample at a time in float32."""
    import torch
    from datasets import Dataset

    from textvae.evaluation.likelihood import importance_weighted_nll
    from textvae.hardware import set_up_process

    set_up_process()
    model, samples = build(preset).eval(), 500
    data = rows(preset, 202)
    dataset = Dataset.from_list(data[2:])
    importance_weighted_nll(model, dataset.select(range(20)), 50)
    times = [seconds(lambda: importance_weighted_nll(model, dataset, samples)) for _ in range(REPEATS)]
    ours = len(dataset) / statistics.median(times)

    def naive(ids):
        q = model.encode(ids, torch.ones_like(ids))
        weights = []
        for z in q.rsample(samples, torch.Generator(model.device).manual_seed(0))[:, None]:
            log_p = model(ids[:, :-1], z=z[0]).logits.log_softmax(-1).gather(2, ids[:, 1:, None]).sum()
            weights.append(log_p + model.prior.log_prob(z)[0, 0] - q.log_prob(z)[0, 0])
        return math.log(samples) - float(torch.stack(weights).logsumexp(0))

    # Two sentences, of about the mean length, stand for all.
    mean = np.mean([row["length"] for row in data])
    typical = sorted(data, key=lambda row: abs(row["length"] - mean))[:2]
    with torch.no_grad():
        some = [torch.tensor([row["ids"]], device=model.device) for row in typical]
        found: list[float] = []
        theirs = len(some) / seconds(lambda: found.extend(naive(ids) for ids in some))
    # From the same samples, since each sentence is the first that its generator is asked for.
    same = [importance_weighted_nll(model, Dataset.from_list([row]), samples, bf16=False) for row in typical]
    if not torch.allclose(torch.cat(same), torch.tensor(found), rtol=0, atol=1e-2):
        raise SystemExit(f"{preset}: the reference's bounds are {found} and textvae's {torch.cat(same).tolist()}")
    return {"sentences_per_second": ours, "reference_sentences_per_second": theirs, "ratio": ours / theirs}


def cost(preset: str) -> dict[str, float]:
    """Seconds of iw_nll for 100 sentences, 100 samples, 10,000 words, 32 dimensions; then with one of them changed."""
    from datasets import Dataset

    from textvae.evaluation.likelihood import importance_weighted_nll
    from textvae.hardware import set_up_process

    set_up_process()
    usual = {"sentences": 100, "samples": 100, "vocabulary": VOCABULARY, "latent": LATENT}
    changes = [{}, {"sentences": 400}, {"samples": 400}, {"vocabulary": 40_000}, {"latent": 128}]
    found = {}
    for change in changes:
        now = usual | change
        model = build(preset, now["vocabulary"], now["latent"]).eval()
        dataset = Dataset.from_list(rows(preset, now["sentences"]))
        importance_weighted_nll(model, dataset.select(range(20)), 50)
        work = partial(importance_weighted_nll, model, dataset, now["samples"])
        times = [seconds(work) for _ in range(REPEATS)]
        name = ", ".join(f"{key} {value:,}" for key, value in change.items()) or "usual"
        found[f"seconds, {name}"] = statistics.median(times)
    return found


def encoded(preset: str) -> dict[str, float]:
    """Tokenization of a text file and latent vectors of its sentences."""
    from datasets import Dataset, DatasetDict, disable_caching

    from textvae import TextVAE
    from textvae.data.corpus import Corpus
    from textvae.data.encoding import encode_corpus
    from textvae.tokenization import TokenizerConfig, make_tokenizer

    disable_caching()
    texts = [line.rstrip() for line in lines(sentences(preset, 100_000))]
    tokenizer = make_tokenizer(TokenizerConfig(kind="word", vocab_size=VOCABULARY), texts)
    corpus = Corpus(splits=DatasetDict(train=Dataset.from_dict({"text": texts})))
    spent = statistics.median(
        seconds(lambda: encode_corpus(corpus, tokenizer, None, "truncate")) for _ in range(REPEATS)
    )
    vae = TextVAE(build(preset), tokenizer)
    vae.encode(texts[:500])
    return {
        "tokenized_words_per_second": sum(text.count(" ") + 1 for text in texts) / spent,
        "sentences_per_second": 10_000
        / statistics.median(seconds(lambda: vae.encode(texts[:10_000])) for _ in range(REPEATS)),
    }


def scaled(preset: str, count: int = SENTENCES) -> dict[str, float]:
    """`textvae.train` on a text file of many sentences: caching, first step, and the most memory ever held.

    Pages of files mapped into memory do not count: the system takes them back when it needs them.
    """
    folder = tempfile.mkdtemp()
    os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"  # read when datasets is imported
    text = Path(folder) / "text.txt"
    found: dict[str, float] = {"sentences": count}
    words, part = 0, 100_000
    with text.open("w") as file:
        for start in range(0, count, part):
            some = sentences(preset, min(part, count - start), seed=start)
            words += sum(map(len, some))
            file.writelines(lines(some))
    memory = Memory()
    for turn in ("first", "second"):
        start = time.perf_counter()
        _, clock = timed_run(preset, text, turn, (1,), validation_size=1e-4, test_size=1e-4)
        found[f"{turn}_time_to_first_step_seconds"] = clock[1] - start
    size = sum(file.stat().st_size for file in (Path(folder) / "cache").rglob("*") if file.is_file())
    shutil.rmtree(folder)
    memory.stop()
    return found | {
        "million_words": words / 1e6,
        "cache_mb": size / 2**20,
        "memory_before_mb": memory.before,
        "peak_memory_mb": memory.peak,
    }


class Memory:
    """Watches how much memory of its own this process holds, in MiB, ten times a second (Linux)."""

    def __init__(self):
        self.before = self.peak = self.now()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    @staticmethod
    def now() -> float:
        """What it holds at the moment."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

    def _watch(self) -> None:
        while not self.ended.wait(0.1):
            self.peak = max(self.peak, self.now())

    def stop(self) -> None:
        """Ends the watch."""
        self.ended.set()
        self.thread.join()


MEASUREMENTS = {
    "roofline": lambda preset: roofline(),
    "trained": trained,
    "frozen": frozen,
    "reference": reference,
    "generate": generated,
    "iw": importance_weighted,
    "cost": cost,
    "encode": encoded,
    "scale": scaled,
}


if __name__ == "__main__":
    print(json.dumps(MEASUREMENTS[sys.argv[1]](sys.argv[2])))
