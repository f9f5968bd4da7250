"""TextVAE: a trained model with its tokenizer. Texts in, latent vectors out, and back.

Shapes: N texts, D latent dimensions.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig
from transformers.generation import GenerationMode
from transformers.utils import cached_file

from textvae.data.batches import batch_of, length_sorted_batches
from textvae.data.collator import Collator
from textvae.data.encoding import encode_texts, note_limit, text_lengths
from textvae.hardware import set_up_process
from textvae.inference.decoding import decode_rows
from textvae.inference.geometry import path
from textvae.inference.refine import refined_vectors
from textvae.latent.fitted import FITTED, FittedPrior
from textvae.modeling import TextVAEModel
from textvae.tokenization import decode as to_texts
from textvae.validation import one_line, suggest

logger = logging.getLogger(__name__)

BATCH = 256  # of vectors that are decoded
# What turns a seed into that of the words, and of what is drawn from posteriors: of the same seed, draws from the prior
# would be theirs.
WORDS, POSTERIORS = 0x9E3779B9, 0x706F7374
# What a field of GenerationConfig must hold to have no part in greedy decoding; None would be filled in by generate.
_GREEDY = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": None}
# What generate can give beside texts, or wants beside z.
_NOT_HERE = {
    *("return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states"),
    *("guidance_scale", "stop_strings", "prompt_lookup_num_tokens"),
}
CARD, ENCODER_TOKENIZER = "README.md", "encoder_tokenizer"
# What a model card says where the name of the model belongs.
HERE = "this folder"


class TextVAE:
    """A latent space of sentences.

    Args:
        model: a TextVAEModel.
        tokenizer: the fast tokenizer of its run.
        card: the model card, in Markdown; saved and uploaded with the model.
        encoder_tokenizer: of an encoder that does not read the decoder's ids.
        fitted_prior: a prior fitted to its latent vectors after training, or its file, which is read when the prior is
            first asked for; saved and uploaded with the model.
    """

    def __init__(
        self,
        model: TextVAEModel,
        tokenizer,
        card: str | None = None,
        encoder_tokenizer=None,
        fitted_prior: FittedPrior | Path | None = None,
    ):
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.card = card
        self.encoder_tokenizer = encoder_tokenizer
        self._fitted_prior = fitted_prior

    # ---- Loading and saving ----

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str | None = None, **kwargs: Any) -> TextVAE:
        """Loads a run folder or a model on the Hugging Face Hub.

        Args:
            name: folder, or `user/model`.
            device: where the model goes; the first accelerator where there is one when None.
            **kwargs: of transformers' from_pretrained (revision, token, local_files_only, ...).

        Raises:
            ValueError: there is no such run, or it is not a whole textvae model.
        """
        set_up_process()  # every token of a batch takes and frees its logits
        folder = Path(name)
        if folder.is_dir() and not (folder / "config.json").is_file():
            raise ValueError(f"{folder} is not a finished run: it has no config.json")
        if not folder.is_dir() and not _may_be_on_the_hub(str(name)):
            raise ValueError(f"no such run: {name}")
        safe = kwargs | {"trust_remote_code": False}
        try:
            model, info = TextVAEModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True, **safe)
            tokenizer = AutoTokenizer.from_pretrained(name, **safe)
            fitted, card = (
                cached_file(str(name), file, _raise_exceptions_for_missing_entries=False, **kwargs)
                for file in (FITTED, CARD)
            )
            encoder_tokenizer = None
            if model.config.encoder_pad_token_id is not None:
                encoder_tokenizer = AutoTokenizer.from_pretrained(name, subfolder=ENCODER_TOKENIZER, **safe)
        except Exception as error:  # whatever a broken file raises, some of it from Rust without a class of its own
            place = "" if folder.is_dir() else "there is no such folder here, and of the Hub: "
            raise ValueError(f"cannot load {name}: {place}{one_line(error, 200)}") from None
        if info["missing_keys"]:
            raise ValueError(f"cannot load {name}: its weights lack {sorted(info['missing_keys'])[0]} and others")
        if device is None:
            device = str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else "cpu"
        text = card and Path(card).read_text(encoding="utf-8", errors="replace")
        return cls(model.to(device), tokenizer, text, encoder_tokenizer, fitted and Path(fitted))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes model and tokenizer as any transformers model is written, and the model card."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if self.encoder_tokenizer is not None:
            self.encoder_tokenizer.save_pretrained(Path(folder) / ENCODER_TOKENIZER)
        if self.card:
            (Path(folder) / CARD).write_text(self.card, encoding="utf-8")
        fitted = Path(folder) / FITTED
        if isinstance(self._fitted_prior, FittedPrior):
            self._fitted_prior.save(folder)
        elif self._fitted_prior is None:
            fitted.unlink(missing_ok=True)  # one that is still there belongs to other weights
        elif self._fitted_prior.resolve() != fitted.resolve():
            shutil.copyfile(self._fitted_prior, fitted)

    def push_to_hub(
        self,
        name: str,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str = "Upload a textvae model",
    ) -> str:
        """Uploads model, tokenizer and model card to the Hugging Face Hub, in one commit.

        Args:
            name: `user/model`; made where it does not exist.
            private: visibility of a new repository.
            token: access token; the one of `hf auth login` when None.
            commit_message: of the commit.

        Returns:
            The address of the repository.

        Raises:
            ValueError: the model leaves weights in a folder of this machine (save_base: false).
        """
        from huggingface_hub import HfApi

        for part in self.model.base_weights():
            source = getattr(self.model.config, part)["name"]
            if Path(source).is_absolute():
                raise ValueError(
                    f"model.{part}.save_base: false leaves weights in {source}, which nobody else has: train with "
                    "save_base: true, or with the name of a repository or of a package"
                )

        api = HfApi(token=token)
        repo = api.create_repo(name, private=private, exist_ok=True)
        card = self.card and self.card.replace(HERE, repo.repo_id)
        with tempfile.TemporaryDirectory() as folder:
            copy = TextVAE(self.model, self.tokenizer, card, self.encoder_tokenizer, self._fitted_prior)
            copy.save_pretrained(folder)
            api.upload_folder(
                repo_id=repo.repo_id,
                folder_path=folder,
                commit_message=commit_message,
                delete_patterns=None if self._fitted_prior else FITTED,  # of an earlier model
            )
        return str(repo)

    # ---- Text to z ----

    @property
    def latent_size(self) -> int:
        """D."""
        return self.model.config.latent_size

    @property
    def fitted_prior(self) -> FittedPrior | None:
        """The prior that was fitted after training, if any.

        Raises:
            ValueError: its file is broken.
            ImportError: it needs a package that is not installed.
        """
        if isinstance(self._fitted_prior, Path):
            try:
                self._fitted_prior = FittedPrior.load(self._fitted_prior).to(self.model.device)
            except ImportError:
                raise
            except Exception as error:  # whatever a broken file raises
                raise ValueError(f"cannot load {self._fitted_prior}: {one_line(error, 200)}") from None
        return self._fitted_prior

    def wanted_prior(self, prior: str) -> FittedPrior | None:
        """What was asked for: the fitted prior, or None for the model's own.

        Args:
            prior: model or fitted.

        Raises:
            ValueError: another word, or there is no fitted prior.
            ImportError: it needs a package that is not installed.
        """
        if prior not in ("model", "fitted"):
            raise ValueError(f"prior: {prior!r} is not known; known: fitted, model")
        if prior == "model":
            return None
        if not self.latent_size:
            raise ValueError("prior: a plain language model has no latent vectors, and no prior of them")
        if self.on_sphere:
            raise ValueError("prior: nothing can be fitted on the unit sphere; train with model.latent.prior=vamp")
        if self.fitted_prior is None:
            raise ValueError("prior: this model has no fitted prior; run `textvae fit-prior RUN` first")
        return self.fitted_prior

    @property
    def on_sphere(self) -> bool:
        """Whether latent vectors have length 1."""
        return bool(self.latent_size) and self.model.posterior.support == "sphere"

    @torch.no_grad()
    def encode(self, texts: list[str] | str, sample: bool = False, seed: int | None = None, refine: int = 0) -> Tensor:
        """Latent vectors of texts.

        Args:
            texts: N texts, or one.
            sample: draw from the posterior instead of taking its mean.
            seed: of the draw.
            refine: gradient steps from there towards the vector from which the decoder tells the text best: slower,
                and more of the text comes back. With some 20 much of it does; the more, the farther from the prior.

        Returns:
            (N,D), or (D,) for one text; float32, on the processor.

        Raises:
            ValueError: a text is blank or no string, or the model is a plain language model.
        """
        if refine < 0:
            raise ValueError(f"refine: {refine} is no number of steps; 0 takes what the encoder gives")
        one = isinstance(texts, str)
        texts = [texts] if one else list(texts)
        for number, text in enumerate(texts, 1):
            if not isinstance(text, str):
                raise ValueError(f"text {number} of {len(texts)} is a {type(text).__name__}, not a text")
            if not text.strip():
                raise ValueError(f"text {number} of {len(texts)} is blank: there is nothing to encode")
        generator = None if seed is None else torch.Generator(self.model.device).manual_seed(seed ^ POSTERIORS)
        dataset = encode_texts(texts, self.tokenizer, self.encoder_tokenizer)
        if self.encoder_tokenizer is not None:
            note_limit(dataset, "encode", logger.warning, self.encoder_tokenizer.model_max_length)
        collate = Collator.of(self.model.config)
        z = torch.empty(len(texts), self.latent_size)
        for index in length_sorted_batches(text_lengths(dataset)):
            batch = batch_of(dataset, index, collate, self.model.device)
            q = self.model.encode(**batch)
            part = q.rsample(1, generator)[0] if sample else q.mean
            z[torch.from_numpy(index)] = refined_vectors(self.model, batch, part, refine).cpu()
        return z[0] if one else z

    # ---- z to text ----

    def decode(self, z: Tensor, seed: int | None = None, streamer=None, **generation: Any) -> list[str] | str:
        """Texts of latent vectors.

        Args:
            z: (N,D), or (D,) for one.
            seed: of sampling.
            streamer: one of transformers, which gets the tokens of one vector as they come.
            **generation: fields of transformers.GenerationConfig (do_sample, temperature, top_k, top_p, min_p,
                num_beams, repetition_penalty, no_repeat_ngram_size, num_return_sequences, max_new_tokens, ...) over
                those of the run, and allow_unknown=True to let the unknown word be generated. Where do_sample=True is
                asked of a run that does not sample, its beams are left out, unless num_beams is given too.

        Returns:
            N texts, or N * num_return_sequences of them, those of one vector side by side; one text for (D,).

        Raises:
            ValueError: z has another size than the model's, or an unknown generation key.
        """
        z = torch.as_tensor(z, dtype=torch.float32)
        one = z.dim() == 1
        rows = z[None] if one else z
        if rows.dim() != 2 or rows.shape[1] != self.latent_size:
            raise ValueError(f"z has shape {tuple(z.shape)}; this model wants (N,{self.latent_size})")
        if not torch.isfinite(rows).all():
            raise ValueError("z holds values that are not finite")
        config = self.generation_config(**generation)
        one_by_one = config.get_generation_mode() in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)
        loop = decode_rows if one_by_one and streamer is None and config.use_cache is not False else None
        texts: list[str] = []
        at_once = max(1, BATCH // max(config.num_beams or 1, config.num_return_sequences or 1))
        with seeded(None if seed is None else seed ^ WORDS), torch.no_grad():
            for part in rows.split(at_once):
                part = part.to(self.model.device)
                ids = self.model.generate(
                    z=part,
                    # Of bos, with which all begin: transformers warns where it has to guess it (pad and eos are one).
                    attention_mask=torch.ones(len(part), 1, dtype=torch.long, device=part.device),
                    generation_config=config,
                    streamer=streamer,
                    custom_generate=loop,
                )
                texts += to_texts(self.tokenizer, ids.tolist())
        return texts[0] if one and len(texts) == 1 else texts

    def generation_config(self, **overrides: Any) -> GenerationConfig:
        """The run's way of decoding with some fields changed.

        Raises:
            ValueError: an unknown field, or one that only sampling reads where there is no sampling.
        """
        values = self.model.generation_config.to_diff_dict()
        overrides = {key: value for key, value in overrides.items() if value is not None}  # generate would fill them in
        if "max_length" in overrides:
            raise ValueError("generation.max_length: the run has max_new_tokens; set that")
        # What only sampling reads, of a run that does not sample by itself.
        sampling = values.pop("sampling", {})
        if overrides.pop("allow_unknown", False) and self.model.config.unk_token_id is not None:
            suppressed = values.get("suppress_tokens") or []
            values["suppress_tokens"] = [i for i in suppressed if i != self.model.config.unk_token_id]
        known = GenerationConfig().to_dict()
        for key in overrides:
            if key in _NOT_HERE:
                raise ValueError(f"generation.{key}: decoding gives texts; for more there is model.generate(z=z, ...)")
            if key not in known:
                raise ValueError(f"generation.{key}: unknown key; {suggest(key, [k for k in known if k[0] != '_'])}")
        # All words, where nothing is said: transformers would take the likeliest 50.
        if overrides.get("do_sample") and not values.get("do_sample"):
            values |= {"num_beams": 1} | sampling
        values = {"top_k": 0} | values | overrides
        if not values.get("do_sample"):
            idle = sorted(_GREEDY.keys() & overrides.keys())
            if idle:
                raise ValueError(f"generation.{idle[0]}: only sampling reads it; set do_sample=True as well")
            values |= _GREEDY
        values.pop("transformers_version", None)
        if most := self.model.decoder.max_tokens:
            values["max_new_tokens"] = min(values.get("max_new_tokens") or most, most)
        return GenerationConfig(**values)

    # ---- What people do with it ----

    def sample(
        self,
        n: int = 1,
        z_scale: float = 1.0,
        seed: int | None = None,
        return_z: bool = False,
        prior: Literal["model", "fitted"] = "model",
        **generation: Any,
    ) -> list[str] | tuple[list[str], Tensor]:
        """Texts of latent vectors drawn from the prior.

        Args:
            n: how many.
            z_scale: factor on the noise of z, the latent's temperature; below 1 gives more typical texts. Components of
                a mixture stay where they are.
            seed: of z and of sampling.
            return_z: give z (n,D) as well.
            prior: model, or fitted (to the latent vectors of the training texts, by `textvae fit-prior`).
            **generation: as for `decode`.

        Raises:
            ValueError: there is no fitted prior, or vectors on a sphere would be scaled.
        """
        if n < 1:
            raise ValueError(f"n: {n} is too few; ask for at least 1 sample")
        fitted = self.wanted_prior(prior)
        if self.on_sphere and z_scale != 1:
            raise ValueError(f"z_scale: {z_scale} is not allowed; this model's latent vectors all have length 1")
        if not self.latent_size and z_scale != 1:
            raise ValueError(f"z_scale: {z_scale} is not allowed; a plain language model has no latent vectors")
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        with torch.no_grad():
            draw = fitted.sample if fitted else self.model.sample_prior
            z = draw(n, generator, **({} if z_scale == 1 else {"scale": z_scale})).cpu()
        if not self.latent_size:  # without z only the words differ
            generation = {"do_sample": True} | generation
        texts = self.decode(z, seed=seed, **generation)
        return (texts, z) if return_z else texts

    def reconstruct(
        self, texts: list[str] | str, seed: int | None = None, refine: int = 0, **generation: Any
    ) -> list[str] | str:
        """Texts to their latent vectors (`encode`) and back, without sampling unless told otherwise.

        No copy ends before its text, unless max_new_tokens is given.
        """
        z = self.encode(texts, refine=refine)
        usual = {"do_sample": False, "max_new_tokens": self.room_for([texts] if isinstance(texts, str) else texts)}
        return self.decode(z, seed=seed, **usual | generation)

    def room_for(self, texts: list[str]) -> int:
        """Tokens that copies may have: five more than the longest text, or what the run gives to all."""
        longest = int(text_lengths(encode_texts(texts, self.tokenizer)).max())
        return max(longest + 5, self.model.generation_config.max_new_tokens or 0)

    def interpolate(
        self,
        a: str | Tensor,
        b: str | Tensor,
        steps: int = 7,
        method: Literal["slerp", "lerp"] = "slerp",
        seed: int | None = None,
        refine: int = 0,
        **generation: Any,
    ) -> list[str]:
        """Texts on the way from one text to another, decoded without sampling unless told otherwise.

        Args:
            a, b: texts, or latent vectors (D,); one of each.
            steps: texts, the reconstructions of both ends counted.
            method: slerp (along the sphere) or lerp (straight; where latent vectors have length 1, the points are
                brought back to the sphere).
            seed: of sampling.
            refine: gradient steps for ends that are texts, as for `encode`.
            **generation: as for `decode`, but for num_return_sequences.
        """
        if generation.get("num_return_sequences", 1) != 1:
            raise ValueError("generation.num_return_sequences: a path has one text a step")
        ends = [self._end(end, refine) for end in (a, b)]
        points = path(*ends, steps, method, self.on_sphere)
        texts = [end for end in (a, b) if isinstance(end, str)]
        room = {"max_new_tokens": self.room_for(texts)} if texts else {}
        return self.decode(points, seed=seed, **{"do_sample": False} | room | generation)

    def _end(self, end: str | Tensor, refine: int) -> Tensor:
        if isinstance(end, str):
            return self.encode(end, refine=refine)
        try:
            z = torch.as_tensor(end, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(f"an end of a path is a text or a latent vector, not {one_line(repr(end), 60)}") from None
        if z.shape != (self.latent_size,):
            raise ValueError(f"an end of a path has shape {tuple(z.shape)}; this model wants ({self.latent_size},)")
        return z


def _may_be_on_the_hub(name: str) -> bool:
    """Whether a name that is no folder has the form `user/model`, and `user` is no folder here."""
    user, slash, model = name.partition("/")
    return bool(slash and model) and "/" not in model and user[:1] not in (".", "~", "") and not Path(user).is_dir()


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seeds sampling inside and leaves the state outside as it was; does nothing for None."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
