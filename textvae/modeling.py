"""TextVAEModel: a sentence to a distribution over z, and z back to a sentence.

Shapes: S latent samples, B sentences, T tokens, D latent dimensions, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
)
from transformers import initialization as init

from textvae import registry
from textvae.configuration import TextVAEConfig
from textvae.latent import kl
from textvae.layers.word_vectors import AnchoredEmbedding
from textvae.outputs import TextVAEOutput


class TextVAEModel(PreTrainedModel, GenerationMixin):
    """Encoder, posterior, prior and decoder. With a latent size of 0: the decoder alone, a plain language model.

    The model knows neither beta nor the step of training, and reduces nothing over sentences.

    Args:
        config: a TextVAEConfig.
    """

    config_class = TextVAEConfig
    base_model_prefix = "textvae"
    main_input_name = "input_ids"
    _supports_sdpa = True

    # (V,) log of how often each word occurs. Where it is set, distortion is that of words without order: see `Stage`.
    log_frequencies: Tensor | None = None

    def __init__(self, config: TextVAEConfig):
        super().__init__(config)
        if config.latent_size:
            self.encoder = registry.build("encoder", config.encoder, config)
            self.posterior = registry.build(
                "posterior", config.latent["posterior"], self.encoder.output_size, config.latent_size
            )
            self.prior = registry.build("prior", config.latent["prior"], config.latent_size)
            if self.prior.support is None:  # a prior made of posteriors
                self.prior.attach(self.encoder.output_size, self._posterior_in_evaluation)
        self.decoder = registry.build("decoder", config.decoder, config)
        shared = getattr(self.encoder, "shared_size", None) if config.latent_size else None
        if shared not in (None, self.decoder.shared_embedding.embedding_dim):
            raise ValueError(
                f"model.encoder.share_embeddings: the encoder's word vectors have size {shared} and the decoder's "
                f"{self.decoder.shared_embedding.embedding_dim}; make them equal"
            )
        self.post_init()
        special = {config.pad_token_id, config.bos_token_id, config.unk_token_id, config.mask_token_id}
        self.generation_config = GenerationConfig(
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            suppress_tokens=sorted(special - {None, config.eos_token_id}),
        )

    def _init_weights(self, module: nn.Module) -> None:
        if getattr(module, "starts_at_zero", False):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, AnchoredEmbedding):
            init.uniform_(module.first, -0.1, 0.1)
            init.zeros_(module.change.weight)
        elif isinstance(module, nn.Embedding):
            init.uniform_(module.weight, -0.1, 0.1)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.RNNBase):
            bound = module.hidden_size**-0.5
            for weight in module.parameters():
                init.uniform_(weight, -bound, bound)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(getattr(module, "softmax_bias", None), nn.Parameter):
            init.zeros_(module.softmax_bias)

    # ---- Saving without pretrained weights that are to be had elsewhere ----

    def base_weights(self) -> dict[str, set[str]]:
        """Weights that a saved model leaves out (save_base: false), by part and name in its backbone."""
        parts = {name: part for name, part in self.named_children() if hasattr(part, "base_weights")}
        return {name: names for name, part in parts.items() if (names := part.base_weights())}

    @property
    def left_out(self) -> set[str]:
        """The same weights by their names in this model."""
        return {f"{part}.backbone.{name}" for part, names in self.base_weights().items() for name in names}

    def save_pretrained(self, save_directory, state_dict=None, **kwargs) -> None:
        """As in transformers, but for the weights that are left out."""
        left_out = self.left_out
        if left_out:
            weights = self.state_dict() if state_dict is None else state_dict
            state_dict = {name: weight for name, weight in weights.items() if name not in left_out}
        super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)

    @classmethod
    def from_pretrained(cls, *args, output_loading_info: bool = False, **kwargs):
        """As in transformers; weights that were left out are read from where they came from."""
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        for part in model.children():
            if hasattr(part, "freeze"):
                part.freeze()
        hub = {key: kwargs[key] for key in ("token", "cache_dir", "local_files_only") if key in kwargs}
        for part, names in model.base_weights().items():
            getattr(model, part).load_weights(names, **hub)
        info["missing_keys"] = set(info["missing_keys"]) - model.left_out
        return (model, info) if output_loading_info else model

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs=None, **options) -> None:
        """Computes the states of pretrained parts anew in the backward pass instead of holding them.

        Raises:
            ValueError: no part is pretrained, or one cannot do it.
        """
        parts = [part for part in self.children() if hasattr(part, "checkpoint")]
        if not parts:
            raise ValueError("training.activation_checkpointing: only pretrained encoders and decoders can do it")
        for part in parts:
            part.checkpoint(activation_checkpointing_kwargs=activation_checkpointing_kwargs, **options)

    def get_input_embeddings(self) -> nn.Embedding:
        """The decoder's word vectors."""
        return self.decoder.embedding

    def encode(
        self,
        encoder_input_ids: Tensor,
        encoder_attention_mask: Tensor,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_summary: Tensor | None = None,
    ):
        """q(z|x).

        Args:
            encoder_input_ids: (B,T).
            encoder_attention_mask: (B,T), 1 for tokens, 0 for padding on the right.
            input_ids: (B,T'), the same texts in the decoder's ids, which an encoder beside a pretrained one reads.
            attention_mask: (B,T').
            encoder_summary: (B,H), what a pretrained encoder makes of the texts, where that is known already.

        Returns:
            A posterior with `mean (B,D)`, `rsample`, `log_prob`.

        Raises:
            ValueError: the model is a plain language model.
        """
        if not self.config.latent_size:
            raise ValueError("this model is a plain language model (model.latent.size is 0): it has no encoder")
        shared, beside = self.decoder.shared_embedding, getattr(self.encoder, "beside", None)
        summary = encoder_summary
        if summary is None:
            summary = self.encoder(encoder_input_ids, encoder_attention_mask, shared)
        if beside is not None:
            summary = torch.cat([summary, beside(input_ids, attention_mask, shared)], -1)
        return self.posterior(summary)

    def _posterior_in_evaluation(self, summary: Tensor):
        """q at summaries that no text has: what the head does over a batch must neither see nor follow them."""
        training = self.posterior.training
        self.posterior.eval()
        q = self.posterior(summary)
        self.posterior.train(training)
        return q

    def sample_prior(self, n: int, generator: torch.Generator | None = None, **scale: float) -> Tensor:
        """Draws (n,D) latent vectors from p(z); with a latent size of 0, n empty ones.

        Args:
            n: how many.
            generator: source of randomness; the global one when None.
            **scale: of the noise, for priors that have noise.
        """
        if not self.config.latent_size:
            return torch.zeros(n, 0, device=self.device)
        if generator is not None and generator.device != self.device:
            return self.prior.sample(n, generator, generator.device, **scale).to(self.device)
        return self.prior.sample(n, generator, self.device, **scale)

    def distortion(self, input_ids: Tensor, attention_mask: Tensor, z: Tensor) -> Tensor:
        """-log p(x|z) of each sentence, summed over its tokens (EOS counted, BOS not).

        Args:
            input_ids: (B,T), from bos to eos, padded on the right.
            attention_mask: (B,T).
            z: (S,B,D).

        Returns:
            (S,B) in nats, float32.
        """
        if self.log_frequencies is not None:
            return self.word_distortion(input_ids, attention_mask, z)
        samples, sentences = z.shape[:2]
        inputs = input_ids[:, :-1].repeat(samples, 1)
        targets = input_ids[:, 1:].repeat(samples, 1)
        real = attention_mask[:, 1:].bool().repeat(samples, 1)
        features = self.decoder(inputs, z.flatten(0, 1)).features
        return self._nll_of_rows(features, targets, real, skip_padding=z.device.type == "cpu").view(samples, sentences)

    def word_distortion(self, input_ids: Tensor, attention_mask: Tensor, z: Tensor) -> Tensor:
        """-log p of the words of each sentence in any order, told by z alone: p(word|z) ~ frequency * exp(word logit).

        Args:
            input_ids, attention_mask, z: as for `distortion`.

        Returns:
            (S,B) in nats, float32.

        Source: Zhao et al. 2017, arXiv 1703.10960 (their bag-of-word loss), with the decoder's softmax layer.
        """
        words, real = input_ids[:, 1:], attention_mask[:, 1:]
        log_frequencies, rows = self.log_frequencies.to(z.device), []
        for sample in z:
            for some, its_words, its_real in zip(*(t.split(256) for t in (sample, words, real)), strict=True):
                logits = self.decoder.word_logits(some) + log_frequencies
                rows.append(((logits.logsumexp(1, keepdim=True) - logits.gather(1, its_words)) * its_real).sum(1))
        return torch.cat(rows).view(z.shape[:2])

    def _nll_of_rows(self, features: Tensor, targets: Tensor, real: Tensor, skip_padding: bool) -> Tensor:
        """(N,T,E) features and (N,T) targets, of which those that are real count -> (N,) nats.

        Without padding there is less work, but to find out where it is an accelerator has to be waited for.
        """
        if not skip_padding:
            nll = self.decoder.nll(features.flatten(0, 1), targets.flatten()).view_as(targets)
            return nll.masked_fill(~real, 0.0).sum(1)
        nll = self.decoder.nll(features[real], targets[real])
        return nll.new_zeros(len(targets)).index_add(0, real.nonzero()[:, 0], nll)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        encoder_input_ids: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        encoder_summary: Tensor | None = None,
        z: Tensor | None = None,
        past_key_values=None,
        num_samples: int = 1,
        generator: torch.Generator | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
    ) -> TextVAEOutput:
        """Scores sentences or, when z is given, decodes from it.

        Args:
            input_ids: (B,T), from bos to eos, padded on the right; in decoding, the tokens not read yet.
            attention_mask: (B,T).
            encoder_input_ids: (B,T'), what the encoder reads; `input_ids` when None, which an encoder with a tokenizer
                of its own cannot read.
            encoder_attention_mask: (B,T').
            encoder_summary: (B,H), what the encoder makes of them, where that is known already.
            z: (B,D); asks for logits.
            past_key_values: the decoder's state in decoding.
            num_samples: S, latent samples a sentence.
            generator: source of randomness for z.
            use_cache, return_dict: accepted because `generate` passes them.

        Returns:
            q, z, log_q, log_p, distortion, rate, rate_per_dimension and sample_prior; or logits and past_key_values.

        Raises:
            ValueError: the encoder's ids are missing.
        """
        if z is not None:
            decoded = self.decoder(input_ids, z, past_key_values)
            return TextVAEOutput(logits=self.decoder.logits(decoded.features), past_key_values=decoded.state)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if not self.config.latent_size:
            z = torch.zeros(num_samples, len(input_ids), 0, device=input_ids.device)
            nothing = torch.zeros(num_samples, len(input_ids), device=input_ids.device)
            distortion = self.distortion(input_ids, attention_mask, z)
            return TextVAEOutput(z=z, log_q=nothing, log_p=nothing, distortion=distortion, rate=nothing[0])
        if encoder_input_ids is None:
            if self.config.encoder_pad_token_id is not None and encoder_summary is None:
                raise ValueError("encoder_input_ids are missing: this model's encoder reads other ids than its decoder")
            encoder_input_ids, encoder_attention_mask = input_ids, attention_mask
        if encoder_attention_mask is None:
            encoder_attention_mask = torch.ones_like(encoder_input_ids)
        q = self.encode(encoder_input_ids, encoder_attention_mask, input_ids, attention_mask, encoder_summary)
        z = q.rsample(num_samples, generator)
        log_q = q.log_prob(z) if self.posterior.has_density else None
        log_p = self.prior.log_prob(z)
        rate, rate_per_dimension = kl(q, self.prior, log_q, log_p)
        return TextVAEOutput(
            q=q,
            z=z,
            log_q=log_q,
            log_p=log_p,
            distortion=self.distortion(input_ids, attention_mask, z),
            rate=rate,
            rate_per_dimension=rate_per_dimension,
            sample_prior=self.sample_prior,
        )

    def _get_logits_processor(self, *args, **kwargs) -> LogitsProcessorList:
        processors = super()._get_logits_processor(*args, **kwargs)
        for processor in processors:
            # The first token is no word that is said again. Where it is the one that ends texts, none would end.
            if isinstance(processor, RepetitionPenaltyLogitsProcessor):
                processor.prompt_ignore_length = 1
        return processors

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, z=None, **kwargs):
        """What `generate` passes to forward at each step: the tokens not read yet, z and the state."""
        if z is None:
            raise ValueError("generate needs z (B,D): sample it from the prior or take it from encode")
        read = past_key_values.get_seq_length() if past_key_values is not None else 0
        return {"input_ids": input_ids[:, read:], "z": z, "past_key_values": past_key_values}

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        if generation_config.use_cache and model_kwargs.get("past_key_values") is None:
            model_kwargs["past_key_values"] = self.decoder.new_state()


AutoModel.register(TextVAEConfig, TextVAEModel)
