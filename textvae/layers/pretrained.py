"""What pretrained encoders and decoders share: which of their weights are trained, and where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from textvae import weights
from textvae.layers.attention import attend, is_short
from textvae.validation import Section, one_line

# What sdpa reads or refuses beside tensors and scale: such a call is left to it. All else that it is given it ignores.
LEFT_TO_SDPA = ("position_bias", "softcap", "cache")


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """transformers' sdpa, but for short texts on a processor.

    Args:
        module: the layer, which may have fewer heads of keys than of queries.
        query: (B,A,T,d).
        key, value: (B,A',K,d).
        attention_mask: as for sdpa, which made it; without one a layer that looks back only does so by itself.
        dropout: on attention weights.
        scaling: of the scores.
        is_causal: whether the layer looks back only; the module says so when None.
        **others: of transformers' interface.

    Returns:
        (B,T,A,d), and None for the weights.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = causal and attention_mask is None and query.shape[2] > 1
    special = any(others.get(name) is not None for name in LEFT_TO_SDPA)
    if special or (causal and query.shape[2] != key.shape[2]) or not is_short(query, key):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal, **others
        )
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    attended = attend(query, key, value, attention_mask, dropout, causal, scaling)
    return attended.transpose(1, 2).contiguous(), None


ATTENTION = "textvae"
AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class PretrainedConfig(Section):
    """A model of transformers as a part.

    Args:
        name: `user/model` on the Hub, a folder, or `package:NAME` for an installed Python package with a model in it.
        revision: of the Hub's repository.
        architecture: the model's own configuration; read from `name` when null, and saved with the run, which can
            then be built without it.
        train: which of its weights are trained: none (frozen), those of the last blocks (last), low-rank additions to
            every linear layer (lora; Hu et al. 2022, arXiv 2106.09685; needs the extra `lora`), or all.
        last_layers: blocks trained by `last`.
        lora_rank: rank of the additions.
        save_base: save the untrained weights with the run as well; otherwise they are read from `name` again.
        fingerprint: of the weights of `name`; noted with a run that does not train all of them, and checked when they
            are read again.
        untied: weights that the architecture ties to others and `name` does not (the softmax layer of a T5 1.1); noted
            with the run.
    """

    name: str = Field(min_length=1)
    revision: str | None = None
    architecture: dict[str, Any] | None = None
    train: Literal["none", "last", "lora", "all"] = "all"
    last_layers: int = Field(2, ge=1)
    lora_rank: int = Field(8, ge=1)
    save_base: bool = True
    fingerprint: str | None = None
    untied: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _none_is_a_word(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("train", "all") is None:  # how YAML may read it
            return {**values, "train": "none"}
        return values


class PretrainedPart:
    """A mixin of modules with a `backbone`: building it, choosing what is trained, loading its weights."""

    backbone: nn.Module
    where: str
    lacking: Set[str] = frozenset()  # weights of the backbone that `name` has not, and that stay as they first were

    def part_of(self, model: nn.Module) -> nn.Module:
        """What is used of a loaded model: all of it."""
        return model

    def build_backbone(self, auto_class: Any, config: PretrainedConfig, part: dict[str, Any], where: str) -> nn.Module:
        """Builds the model from its architecture, with first weights, and marks what is trained.

        Args:
            auto_class: AutoModel, AutoModelForCausalLM or AutoModelForSeq2SeqLM.
            config: of the part.
            part: the part's dict in the TextVAEConfig, where the architecture is noted.
            where: dotted path in the recipe, for messages.
        """
        self.auto_class, self.where, self.noted = auto_class, where, part
        if config.architecture is None:
            found = weights.architecture(config.name, config.revision, f"{where}.name")
            part["architecture"], part["name"] = found
        self.architecture = part["architecture"]
        try:
            config_of = weights.configuration(part["architecture"])
            backbone = self.part_of(auto_class.from_config(config_of, trust_remote_code=False))
        except Exception as error:  # whatever an unknown or incomplete configuration raises
            message = f"{where}.name: {config.name} is of no supported family: {one_line(error, 200)}"
            raise ValueError(message) from None
        if backbone.config._attn_implementation == "sdpa":
            backbone.set_attn_implementation(ATTENTION)
        if config.train == "none":
            _without_dropout(backbone)
        if config.train != "all":
            backbone.requires_grad_(False)
        if config.train == "last":
            lists = [m for m in backbone.modules() if isinstance(m, nn.ModuleList) and len(m)]
            # A block may be a list of its own parts; what transformers can checkpoint is a whole one.
            whole = [m for m in lists if isinstance(m[0], GradientCheckpointingLayer)]
            if not lists:
                raise ValueError(f"{where}.train: last finds no blocks in {config.name}; take none, lora or all")
            max(whole or lists, key=len)[-config.last_layers :].requires_grad_(True)
        elif config.train == "lora":
            backbone = _with_lora(backbone, config.lora_rank, where)
        self.untrained = {name for name, p in _weights_by_name(backbone) if not p.requires_grad}
        return backbone

    def freeze(self) -> None:
        """Marks what is not trained; transformers forgets it in loading."""
        for name, weight in _weights_by_name(self.backbone):
            weight.requires_grad_(name not in self.untrained)

    def pretrained_weights(self) -> list[nn.Parameter]:
        """Those that are trained on; low-rank additions are new."""
        named = self.backbone.named_parameters()
        return [weight for name, weight in named if weight.requires_grad and ".lora_" not in name]

    @property
    def all_tied_weights_keys(self) -> dict[str, str]:
        """Which of the backbone's weights are one: transformers asks each part of a model for them."""
        tied = getattr(self.backbone, "all_tied_weights_keys", {})
        return {f"backbone.{one}": f"backbone.{other}" for one, other in tied.items()}

    def load_weights(self, only: set[str] | None = None, **hub: Any) -> None:
        """Reads the pretrained weights from where the configuration says.

        Args:
            only: names of those wanted; all when None.
            **hub: of from_pretrained: token, cache_dir, local_files_only.

        Raises:
            ValueError: they cannot be had, or are not those with which a run began that rests on them.
        """
        name, where = self.config.name, f"{self.where}.name"
        whole, told = weights.load(self.auto_class, name, self.config.revision, where, output_loading_info=True, **hub)
        new = {id(weight) for key, weight in _weights_by_name(whole) if key in told["missing_keys"]}
        source = self.part_of(whole)
        self.lacking = {key for key, weight in _weights_by_name(source) if id(weight) in new}
        # Many encoders come without what pools for a task; it is not read here.
        for key in sorted(key for key in self.lacking if "pooler" not in key):
            raise ValueError(f"{where}: the weights of {name} lack {key}")
        untied = weights.untied(self.backbone, source)
        self.untie(untied)
        self.noted["untied"] = sorted({*self.config.untied, *untied})
        weights.copy_weights(self.backbone, source, where, only)
        if not self.untrained:
            return
        found = weights.fingerprint(source, without=self.lacking)
        if self.config.fingerprint not in (None, found):
            raise ValueError(
                f"{where}: {name} holds other weights than those with which this run began, and which it has not "
                "trained; put those back"
            )
        self.noted["fingerprint"] = found

    def untie(self, names: Iterable[str]) -> None:
        """Gives weights of the backbone that are tied to others a tensor of their own."""
        for name in names:
            place, _, attribute = name.rpartition(".")
            module = self.backbone.get_submodule(place)
            tied = getattr(module, attribute)
            setattr(module, attribute, nn.Parameter(tied.detach().clone(), requires_grad=tied.requires_grad))
            del self.backbone.all_tied_weights_keys[name]

    def base_weights(self) -> set[str]:
        """Names in the backbone of weights that a saved run leaves out, since they are those of `name`.

        A vocabulary that has grown by special tokens is no longer that of `name`.
        """
        if self.config.save_base:
            return set()
        size = weights.configuration(self.architecture).get_text_config().vocab_size
        untrained = {name: p for name, p in _weights_by_name(self.backbone) if name in self.untrained}
        vocabulary = (self.backbone.get_input_embeddings(), self.backbone.get_output_embeddings())
        grown = {id(layer.weight) for layer in vocabulary if layer is not None and len(layer.weight) != size}
        return {name for name, p in untrained.items() if id(p) not in grown and ".lora_" not in name}

    @property
    def refusal(self) -> str:
        """How a message begins that refuses the model."""
        family = self.backbone.config.model_type
        return f"{self.where}.name: {self.config.name} is of the family {family}, which is not supported:"

    def train(self, mode: bool = True):
        """A backbone of which nothing is trained has no dropout either."""
        super().train(mode)
        if self.config.train == "none":
            self.backbone.eval()
            # transformers checkpoints layers in training alone. Their parts stay as they are.
            for layer in self.backbone.modules():
                if isinstance(layer, GradientCheckpointingLayer) and layer.gradient_checkpointing:
                    layer.training = mode
        return self

    def checkpoint(self, **options: Any) -> None:
        """Computes states anew in the backward pass instead of holding them.

        Args:
            **options: of transformers' activation_checkpointing_enable.

        Raises:
            ValueError: the architecture cannot do it.
        """
        try:
            self.backbone.activation_checkpointing_enable(**options)
        except ValueError as error:
            raise ValueError(f"training.activation_checkpointing: {self.where}: {one_line(error)}") from None


def _weights_by_name(model: nn.Module):
    """Parameters with all of their names: a tied one has several."""
    return model.named_parameters(remove_duplicate=False)


def _without_dropout(backbone: nn.Module) -> None:
    """Sets the rates of dropout that layers hold as numbers to 0, whether they believe to be in training or not."""
    for module in backbone.modules():
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _with_lora(backbone: nn.Module, rank: int, where: str) -> nn.Module:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ValueError(f"{where}.train: lora needs the package peft: pip install peft") from None
    turned = any(isinstance(module, Conv1D) for module in backbone.modules())  # GPT-2's layers; peft would warn of each
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", fan_in_fan_out=turned)
    try:
        backbone = inject_adapter_in_model(config, backbone)
    except Exception as error:  # peft has its own reasons
        raise ValueError(f"{where}.train: no lora for this model: {one_line(error, 200)}; take all or last") from None
    for name, module in backbone.named_modules():
        if ".lora_" in name:  # they add nothing at first: transformers must not give them first values of its own
            module._is_hf_initialized = True
    return backbone
