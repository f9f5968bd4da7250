"""Trains remedies against posterior collapse on Penn Treebank, measures them on test, and writes docs/results.md.

    python scripts/reproduce_ptb.py --data DIR --output-dir runs/table
    python scripts/reproduce_ptb.py --data DIR --output-dir runs/table --rows best best_lm --seeds 3

Without --rows it trains the rows of the comparison: the model, the optimiser and the number of epochs are the same in
all of them, and iw_nll takes 50 samples on a fixed thousand of the test sentences. The rows best, best_lm, high_rate,
higher_rate and those of autoencoders have all test sentences and, unless --samples says otherwise, 500 samples; the
budget is that of their recipe, but for autoencoder_anchored and autoencoder_rotary, which have fewer updates. Each row
is one `textvae train` and one `textvae evaluate`, those of a higher rate with `textvae fit-prior` between them, whose
commands stand in the results. Where the language model of the same section and seed (lm, best_lm) is there, rows are
held against it. With --fast the rows of the comparison have a small model and are not refined: their order is that of
the comparison where it tells rows apart by more than a nat. The same command goes on where it stopped.
Results are kept in a JSON file beside the table, so that rows may come from several calls and machines.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runs
from benchmark import hardware

from textvae.writing import whole_file

STEPS, FAST_STEPS = 1972, 600  # of 128 sentences: six epochs, and not two
# What learns as much of the order of the rows in the fast comparison's hour, with some two fifths of the work a step.
SMALL = (
    "model.encoder.embedding_size=128",
    "model.encoder.hidden_size=128",
    "model.decoder.embedding_size=128",
    "model.decoder.hidden_size=256",
)
REFINE = 20  # gradient steps for each text
SENTENCES, CORPUS = 1000, "corpus"  # of the comparison's validation and test splits; the folder that holds them
COLUMNS = (
    ("iw_nll", "{:.2f}"),
    ("iw_nll_stderr", "{:.2f}"),
    ("iw_samples", "{}"),
    ("gap_iw_nll", "{:+.2f}"),
    ("gap_iw_nll_stderr", "{:.2f}"),
    ("nll", "{:.2f}"),
    ("refined_nll", "{:.2f}"),
    ("refined_iw_nll", "{:.2f}"),
    ("rate", "{:.2f}"),
    ("refined_rate", "{:.2f}"),
    ("mutual_information", "{:.2f}"),
    ("mutual_information_cap", "{:.2f}"),
    ("active_units", "{}"),
    ("reconstruction_bleu", "{:.1f}"),
    ("refined_reconstruction_bleu", "{:.1f}"),
    ("minutes", "{:.1f}"),
    ("verdict", "{}"),
)
ANNEALED = "objective={beta: {schedule: linear, warmup: 0.3}}"
UNNORMALISED = "model.latent.posterior=gaussian"  # recipes of remedies that collapse alone have a BatchNorm beside them
# Of the rows that are compared: where z enters unless a row says otherwise. The recipe has the skip connection as well.
PLAIN, SKIP = "model.decoder.inject=[initial, concat]", "model.decoder.inject=[initial, concat, output]"
AUTOENCODER = (
    "objective={beta: 0}",
    "model.latent.size=128",
    "model.encoder.hidden_size=512",
    "model.encoder.word_sum=true",
    "model.encoder.dropout=0",
    "model.decoder.dropout=0",
    "model.decoder.weight_dropout=0",
    "model.decoder.embedding_dropout=0",
    "training.weight_decay=1.0",
)
HIGHER_RATE = (
    "objective.free_bits=36",
    "model.encoder.word_sum=true",
    "model.encoder.dropout=0",
    "model.decoder.anchor_embeddings=true",
    "model.decoder.dropout=0.2",
    "model.decoder.weight_dropout=0.2",
    "training.weight_decay=0.6",
)


@dataclass(frozen=True)
class Row:
    """A row of results.

    Args:
        what: in words.
        overrides: key=value.
        recipe: name in configs.
        full: trained with the budget of its recipe, and measured on the whole test split.
        staged: a quarter of the updates goes to the autoencoder.
        refine: gradient steps for each sentence, on the whole test split.
        fast: what it changes in the fast comparison, where that is something else.
        components: of the mixture that is fitted to its vectors after training and is its prior when it is measured; 0
            for the prior that it was trained with.
    """

    what: str
    overrides: tuple[str, ...] = ()
    recipe: str = "ptb_lstm_lstm"
    full: bool = False
    staged: bool = False
    fast: tuple[str, ...] = ()
    refine: int = REFINE
    components: int = 0


ROWS = {
    "lm": Row(
        "language model: the decoder alone, its dropout chosen on validation",
        ("model.latent.size=0", "model.decoder.dropout=0.1", "model.decoder.weight_dropout=0.1"),
        fast=("model.latent.size=0", "model.decoder.dropout=0", "model.decoder.weight_dropout=0"),
    ),
    "lm_same": Row("the same with the dropout of the other rows", ("model.latent.size=0",)),
    "none": Row("no remedy: beta is 1 from the start", ("objective={beta: 1}",)),
    "annealing": Row("beta rises over 30 % of training", (ANNEALED,)),
    "cyclical": Row("beta rises four times", ("objective={beta: {schedule: cyclical, cycles: 4, warmup: 0.5}}",)),
    "beta": Row("beta-VAE, beta rises to 0.5", ("objective={beta: {schedule: linear, warmup: 0.3, max: 0.5}}",)),
    "word_dropout": Row("annealing, 30 % of words hidden", (ANNEALED, "model.decoder.word_dropout=0.3")),
    "skip": Row("annealing, z goes to the softmax too", (ANNEALED, SKIP)),
    "batch_norm": Row(
        "annealing, mu is batch-normalised",
        ("model.latent.posterior={kind: gaussian, batch_norm: 0.6}",),
        "ptb_lstm_lstm_batch_norm",
    ),
    "free_bits": Row("annealing, free bits of each dimension"),
    "free_bits_skip": Row("annealing, free bits of each dimension, z goes to the softmax too: the recipe", (SKIP,)),
    "word_sum": Row(
        "the recipe, and the sum of the word vectors for the encoder", (SKIP, "model.encoder.word_sum=true")
    ),
    "free_bits_total": Row("annealing, free bits of the whole rate", ("objective.free_bits_per=total",)),
    "target_rate": Row("rate of 8 by a Lagrange multiplier", recipe="ptb_lstm_lstm_target_rate"),
    "pretrained": Row(
        "autoencoder first, then a new decoder and free bits", (), "ptb_lstm_lstm_pretrained", staged=True
    ),
    "aggressive": Row(
        "the encoder is trained ahead (more updates than the others)", (UNNORMALISED,), "ptb_lstm_lstm_aggressive"
    ),
    "iwae": Row("importance-weighted bound, 5 samples", (UNNORMALISED,), "ptb_lstm_lstm_iwae"),
    "infovae": Row("InfoVAE, MMD to the prior", recipe="ptb_lstm_lstm_infovae"),
    "adversarial": Row("adversarial autoencoder", (UNNORMALISED,), "ptb_lstm_lstm_adversarial"),
    "denoising": Row("denoising adversarial autoencoder", (UNNORMALISED,), "ptb_lstm_lstm_denoising"),
    "vmf": Row(
        "von Mises-Fisher on the sphere, concentration 40",
        ("objective={beta: 1}", "model.latent.posterior={kind: vmf, concentration: 40}", "model.latent.prior=uniform"),
    ),
    "best_lm": Row("language model with the recipe's decoder", ("model.latent.size=0",), full=True),
    "best": Row("the recipe", full=True),
    "high_rate": Row("the recipe with 18 free bits", ("objective.free_bits=18",), full=True),
    "higher_rate": Row(
        "36 free bits, less dropout, more decay, the sum of word vectors, anchored ones, and a prior fitted afterwards",
        HIGHER_RATE,
        full=True,
        components=200,
    ),
    "higher_rate_rotary": Row(
        "the same with rotary pooling and z turned back",
        (*HIGHER_RATE, "model.encoder.pooling=rotary", "model.decoder.inject=[initial, concat, output, rotary]"),
        full=True,
        components=200,
    ),
    "autoencoder": Row("autoencoder: beta 0, 128 dimensions", AUTOENCODER, full=True),
    "autoencoder_anchored": Row(
        "the same with anchored word vectors and a fifth of the updates",
        (*AUTOENCODER, "model.decoder.anchor_embeddings=true", "training.max_steps=2600"),
        full=True,
    ),
    "autoencoder_rotary": Row(
        "anchored word vectors, rotary pooling, z turned back, and two fifths of the updates",
        (
            *AUTOENCODER,
            "model.decoder.anchor_embeddings=true",
            "model.encoder.pooling=rotary",
            "model.decoder.inject=[initial, concat, output, rotary]",
            "training.max_steps=5200",
        ),
        full=True,
    ),
}
LANGUAGE_MODELS = ("lm", "lm_same", "best_lm")
BESIDE = {False: "lm", True: "best_lm"}  # what a row is held against, in the comparison and with the full budget
COMPARISON, FULL = ([name for name, row in ROWS.items() if row.full == full] for full in (False, True))


def overrides(row: Row, data: Path, steps: int, seed: int, small: bool = False) -> list[str]:
    """All that a row changes in its recipe; where it is compared, with a small model if asked for."""
    first = steps // 4
    stages = f"[{{max_steps: {first}, objective: {{beta: 0}}}}, {{max_steps: {steps - first}, reset: [decoder]}}]"
    budget = f"training.stages={stages}" if row.staged else f"training.max_steps={steps}"
    # The learning rate's warm-up is the share of the recipe's.
    short = [
        *([] if SKIP in row.overrides else [PLAIN]),
        *(SMALL if small else ()),
        budget,
        "training.warmup_steps=0.05",
    ]
    changed = [] if row.full else short
    own = (small and row.fast) or row.overrides
    return [f"data.source={data}", *own, *changed, f"training.seed={seed}"]


def read_splits(data: Path) -> dict[str, list[str]]:
    """The lines of the files of a corpus, by split."""
    splits = {}
    for split in ("train", "valid", "test"):
        found = sorted(data.glob(f"*{split}*.txt"))
        if len(found) != 1:
            runs.refuse(f"--data: wanted one file {split}.txt in {data}, found {len(found)}")
        try:
            splits[split] = [line for line in found[0].read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            runs.refuse(f"--data: {found[0]} cannot be read as UTF-8 ({error})")
    return splits


def thousand(splits: dict[str, list[str]], folder: Path) -> Path:
    """Writes the corpus with a fixed thousand sentences in its validation and test splits."""
    texts = {}
    for split, lines in splits.items():
        if split != "train":
            lines = random.Random(0).sample(lines, min(SENTENCES, len(lines)))
        texts[f"{split}.txt"] = "\n".join(lines) + "\n"
    for name, text in texts.items():  # a run of the comparison is known by that folder
        if (folder / name).is_file() and (folder / name).read_text(encoding="utf-8") != text:
            runs.refuse(f"--output-dir: {folder} holds the texts of another --data; choose another folder for its runs")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Trial:
    """A row with a seed: where it is trained, and by which commands.

    Args:
        name: of the row.
        seed: of training.
        fast: with a small model and fewer updates.
        data: folder of the corpus.
        output: folder of the runs.
        samples: of iw_nll; 500 or, in the comparison, 50 when None.
    """

    name: str
    seed: int
    fast: bool
    data: Path
    output: Path
    samples: int | None = None

    @property
    def folder(self) -> Path:
        """Of the run."""
        fast = "-fast" if self.fast and not ROWS[self.name].full else ""
        return self.output / f"{self.name}-{self.seed}{fast}"

    @property
    def changed(self) -> list[str]:
        """What it changes in its recipe."""
        row = ROWS[self.name]
        corpus = self.data if row.full else self.output / CORPUS
        return overrides(row, corpus, FAST_STEPS if self.fast else STEPS, self.seed, self.fast)

    @property
    def evaluation(self) -> list[str]:
        """Arguments of `textvae` by which it is measured."""
        against = ["--against", str(self.beside.folder)] if self._has_gap else []
        refine = ["--refine", str(self._refine)] if self._refine else []
        prior = ["--prior", "fitted"] if self.fitting else []
        asked = ["--split", "test", "--samples", str(self._samples), *refine, *prior, *against]
        return ["evaluate", str(self.folder), *asked]

    @property
    def fitting(self) -> list[str]:
        """Arguments of `textvae` by which its prior is fitted after training; empty where none is."""
        components = ROWS[self.name].components
        return ["fit-prior", str(self.folder), "--components", str(components)] if components else []

    @property
    def measured(self) -> str:
        """Whose file of numbers is its own."""
        return "test-fitted-prior" if self.fitting else "test"

    @property
    def beside(self) -> Trial:
        """The language model of the same section and seed."""
        return dataclasses.replace(self, name=BESIDE[ROWS[self.name].full])

    @property
    def finished(self) -> bool:
        """Whether it is trained and measured as asked, with the gap to its language model where that is finished."""
        if not runs.metrics(self.folder, self.measured).is_file():
            return False
        if self.name in LANGUAGE_MODELS:
            return True
        figures = runs.figures(self.folder, self.measured)
        as_asked = figures.get("iw_samples") == self._samples
        if self._refine:
            as_asked &= figures.get("refine_steps") == self._refine
        if self.fitting:
            as_asked &= figures.get("prior") == f"fitted mixture of {ROWS[self.name].components}"
        return as_asked and (not self._has_gap or "gap_iw_nll" in figures)  # null where a bound is not finite

    @property
    def _samples(self) -> int:
        return self.samples or (500 if ROWS[self.name].full else 50)

    @property
    def _refine(self) -> int:
        """Steps: none of a language model, and none of the fast comparison, which is there for its order."""
        return 0 if self.name in LANGUAGE_MODELS or self.fast else ROWS[self.name].refine

    @property
    def _has_gap(self) -> bool:
        return self.name not in LANGUAGE_MODELS and self.beside.finished

    def run(self) -> None:
        """Trains and measures it, as far as that is not done."""
        runs.train(self.folder, ROWS[self.name].recipe, self.changed)
        if not self.finished:
            if self.fitting:
                runs.textvae(*self.fitting)
            runs.textvae(*self.evaluation)

    def commands(self) -> list[str]:
        """What to type for the same."""
        train = runs.command("train", ROWS[self.name].recipe, *self.changed, f"output_dir={self.folder}")
        return [train, *(runs.command(*step) for step in (self.fitting, self.evaluation) if step)]


def read_results(file: Path) -> dict[str, dict[str, Any]]:
    """What is known so far, by the name of the run's folder."""
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        runs.refuse(f"--results: {file} cannot be read ({error}); repair or remove it")


def record(trial: Trial, file: Path) -> dict[str, dict[str, Any]]:
    """Writes the figures of a finished trial to the file of results, which it returns.

    Date and machine are those on record where it is the same training (the same minutes), measured here or elsewhere.
    """
    known = read_results(file)
    figures = runs.figures(trial.folder, trial.measured)
    entry = {key: figures.get(key) for key, _ in COLUMNS}
    old = known.get(trial.folder.name, {})
    trained = old if old.get("minutes") == entry["minutes"] else hardware()
    entry |= {key: trained.get(key) for key in ("date", "cpu", "gpu", "threads", "torch")}
    known[trial.folder.name] = entry | {
        "texts": runs.texts(trial.folder) or old.get("texts"),
        "row": trial.name,
        "what": ROWS[trial.name].what,
        "seed": trial.seed,
        "fast": trial.fast,
        "commands": trial.commands(),
    }
    with whole_file(file) as draft:  # what is there comes from days of training
        draft.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return known


def check_texts(known: dict[str, dict[str, Any]], trials: list[Trial], file: Path) -> None:
    """Refuses to put rows of one corpus among those of another."""
    for trial in {ROWS[trial.name].full: trial for trial in trials}.values():
        full = ROWS[trial.name].full
        others = [entry for entry in known.values() if entry["row"] in ROWS and ROWS[entry["row"]].full == full]
        texts = runs.texts_of(ROWS[trial.name].recipe, trial.changed)
        if any(entry.get("texts") not in (None, texts) for entry in others):
            runs.refuse(f"--data: {file} has the rows of other texts; choose another --results")


def with_gaps(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, with the gap to the language model of their section and seed where it was not measured beside it.

    Then without its standard error, which takes the differences of all sentences.
    """
    nll = {(entry["row"], entry["fast"], entry["seed"]): entry["nll"] for entry in results}
    found = []
    for entry in (entry for entry in results if entry["row"] in ROWS):
        beside = nll.get((BESIDE[ROWS[entry["row"]].full], entry["fast"], entry["seed"]))
        wanted = entry["row"] not in LANGUAGE_MODELS and entry["gap_iw_nll"] is None
        if wanted and beside is not None and entry["iw_nll"] is not None:
            entry = entry | {"gap_iw_nll": entry["iw_nll"] - beside}
        found.append(entry)
    return found


def report(results: list[dict[str, Any]]) -> str:
    """Markdown: the rows that are finished, and their commands."""
    results = with_gaps(results)
    clock = ", by the clock; on the GPU others ran at the same time" if any(row["gpu"] for row in results) else ""
    lines = [
        "# Penn Treebank: remedies against posterior collapse",
        "",
        "Written by `scripts/reproduce_ptb.py`. Nats a sentence on the test split, end of sentence counted, "
        "Mikolov's 10,000 words; what each column means: [metrics.md](metrics.md), each remedy: "
        "[remedies.md](remedies.md). The language model's nll is exact. The others' nll is the bound at beta = 1; "
        "iw_nll with fewer samples (iw_samples) is an upper bound of that with more. The columns refined_* are "
        "measured after the gradient steps for each sentence that the command of the row names (semi-amortised): "
        "nll and iw_nll with refined posteriors, reconstructions from refined vectors. They are empty for "
        "posteriors that are not Gaussian, for rows measured without --refine, and where a row was measured before"
        " that number was recorded; the command would print it now. The gap is to the language model of the same "
        "section and seed, where that is there, below 0 where the VAE is better; it has a standard error where "
        "both were measured together. With the full budget the language model has the dropout of the recipe, of "
        "which no other was better by more than 0.1 nats on validation; in the comparison it has its own, chosen "
        "on validation, while the VAEs have the recipe's, with which lm_same shows the decoder alone ([lab "
        "log](experiments.md)). The mutual information is an estimate that cannot exceed its cap, the log of the "
        f"number of sentences. Minutes are those of training{clock}. The "
        f"folder `{CORPUS}` in the commands is what the script makes of --data for "
        "the comparison. Rows whose objective puts no weight on the rate (InfoVAE, autoencoders; the adversarial "
        "ones and the denoising one hold q(z) alone against the prior) have no likelihood to speak of: nothing "
        "keeps their posteriors from shrinking to points.",
    ]
    some = "a fixed thousand of the test split."
    sections = (
        ("Full budget", "The whole test split.", FULL, False),
        ("Comparison", f"{STEPS:,} updates of 128 sentences; {some}", COMPARISON, False),
        ("Comparison, fast", f"The same with {FAST_STEPS:,} updates of a small model.", COMPARISON, True),
    )
    for title, note, names, fast in sections:
        found = [entry for name in names for entry in results if (entry["row"], entry["fast"]) == (name, fast)]
        if found:
            machines = sorted({machine(entry) for entry in found})
            note = f"{note} {'; '.join(machines)}.{order_kept(results) if fast else ''}"
            lines += ["", f"## {title}", "", note, "", *table(found)]
            lines += ["", "```", *(command for entry in found for command in entry["commands"]), "```"]
    return "\n".join(lines) + "\n"


def order_kept(results: list[dict[str, Any]]) -> str:
    """A sentence: which rows that are more than a nat apart in the whole comparison change places in the fast one."""

    def means(short: bool) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for entry in results:
            if entry["row"] in COMPARISON and entry["fast"] == short and entry["iw_nll"] is not None:
                found.setdefault(entry["row"], []).append(entry["iw_nll"])
        return {row: statistics.mean(seeds) for row, seeds in found.items()}

    full, fast = means(False), means(True)
    pairs = [pair for pair in itertools.permutations(full.keys() & fast.keys(), 2) if full[pair[0]] + 1 < full[pair[1]]]
    turned = sorted(f"{better} and {worse}" for better, worse in pairs if fast[better] >= fast[worse])
    kept = f" Of {len(pairs)} pairs of rows more than a nat apart above, {len(pairs) - len(turned)} keep their order"
    if not pairs:
        return ""
    return kept + (f"; not {', '.join(turned)}." if turned else ".")


def machine(entry: dict[str, Any]) -> str:
    """What a trial ran on, and when."""
    processor = entry["gpu"] or f"{entry['cpu']}, {entry['threads']} threads"
    return f"{processor}, torch {entry['torch']}, {entry['date']}"


def table(found: list[dict[str, Any]]) -> list[str]:
    """Lines of Markdown: a line a trial, and the means of the rows that have several seeds.

    And on what each was measured, where that is not the same for all.
    """
    several = len({machine(entry) for entry in found}) > 1
    header = ["row", "seed", *(key for key, _ in COLUMNS), "what", *(["machine"] if several else [])]
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for row in dict.fromkeys(entry["row"] for entry in found):
        trials = sorted((entry for entry in found if entry["row"] == row), key=lambda entry: entry["seed"])
        for entry in trials:
            cells = ["" if entry.get(key) is None else form.format(entry[key]) for key, form in COLUMNS]
            last = [entry["what"], *([machine(entry)] if several else [])]
            lines.append(f"| {' | '.join([row, str(entry['seed']), *cells, *last])} |")
        if len(trials) > 1:
            means = [_mean(trials, key) for key, _ in COLUMNS]
            lines.append(f"| {' | '.join([row, 'mean ± sd', *means, '', *([''] if several else [])])} |")
    return lines


def _mean(trials: list[dict[str, Any]], key: str) -> str:
    """Over the seeds, with the standard deviation; nothing for what is no number or has an error of its own."""
    values = [entry.get(key) for entry in trials]
    if key.endswith(("stderr", "samples", "cap")) or not all(isinstance(value, int | float) for value in values):
        return ""
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def main() -> None:
    """Trains what is asked for; the results are written anew after each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.txt, valid.txt and test.txt")
    parser.add_argument("--output-dir", type=Path, required=True, help="of the runs")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=COMPARISON, metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0 on")
    parser.add_argument("--samples", type=int, help="of iw_nll; 500 on the whole test split, 50 on a thousand")
    parser.add_argument("--fast", action="store_true", help="the comparison with a small model and fewer updates")
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"), help="file of the table")
    args = parser.parse_args()
    if not args.data.is_dir():
        parser.error(f"--data: there is no folder {args.data}")
    for name in ("seeds", "samples"):
        if (count := getattr(args, name)) is not None and count < 1:
            parser.error(f"--{name}: {count} is not allowed; at least 1")
    full = [name for name in args.rows if ROWS[name].full]
    if args.fast and full:
        parser.error(f"--fast: {', '.join(full)} are no part of the fast comparison")
    splits, results = read_splits(args.data), args.results.with_suffix(".json")
    read_results(results)
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
        args.results.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        runs.refuse(f"cannot write where --output-dir and --results say: {error}")
    if any(not ROWS[name].full for name in args.rows):
        thousand(splits, args.output_dir / CORPUS)
    trials = [Trial(name, 0, args.fast, args.data, args.output_dir, args.samples) for name in args.rows]
    check_texts(read_results(results), trials, results)
    start, failed, alone = time.time(), {}, set()
    # Language models first: the others are held against them.
    for name in sorted(args.rows, key=lambda name: name not in LANGUAGE_MODELS):
        for seed in range(args.seeds):
            trial = Trial(name, seed, args.fast, args.data, args.output_dir, args.samples)
            try:
                trial.run()
            except SystemExit as end:  # its message is on the terminal; the other rows do not depend on it
                failed[trial.folder.name] = end.code
                continue
            alone |= {trial.beside.name} if name not in LANGUAGE_MODELS and not trial.beside.finished else set()
            known = record(trial, results)
            args.results.write_text(report(list(known.values())), encoding="utf-8")
    print(f"\n{args.results} after {(time.time() - start) / 60:.0f} minutes")
    for name in sorted(alone):
        print(
            f"no gap measured beside the language model: it takes --rows {name} with these seeds, then these rows again"
        )
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
        raise SystemExit(2 if set(failed.values()) == {2} else 1)


if __name__ == "__main__":
    main()
