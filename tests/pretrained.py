"""Tiny random models of the families that pretrained parts come from."""

import copy

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertTokenizer,
    PreTrainedTokenizerFast,
)

from textvae import weights
from textvae.recipe import make_recipe

COMMON = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GROUPED = COMMON | {"num_key_value_heads": 2}

DECODERS = {
    "gpt2": {"model_type": "gpt2", "vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "llama": {"model_type": "llama"} | GROUPED,
    "qwen2": {"model_type": "qwen2"} | GROUPED,
    "qwen3": {"model_type": "qwen3", "head_dim": 8} | GROUPED,
    "smollm3": {"model_type": "smollm3", "pad_token_id": 0} | GROUPED,
    "gemma": {"model_type": "gemma", "head_dim": 8} | GROUPED,
    "gemma2": {"model_type": "gemma2", "head_dim": 8, "sliding_window": 16, "final_logit_softcapping": 2.0} | GROUPED,
    "gemma3": {"model_type": "gemma3_text", "head_dim": 8, "sliding_window": 16} | GROUPED,
    "mistral": {"model_type": "mistral", "sliding_window": None} | GROUPED,
    "gpt_neox": {"model_type": "gpt_neox"} | COMMON,
}
SEQ2SEQ = {
    "t5": {
        "model_type": "t5",
        "vocab_size": 40,
        "d_model": 16,
        "d_kv": 4,
        "d_ff": 24,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
    },
    "bart": {
        "model_type": "bart",
        "vocab_size": 40,
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 64,
    },
}
SEQ2SEQ["t5-untied"] = SEQ2SEQ["t5"] | {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}
SEQ2SEQ["t5gemma"] = {
    "model_type": "t5gemma",
    "vocab_size": 40,
    "encoder": GROUPED | {"head_dim": 8, "sliding_window": 16},
    "decoder": GROUPED | {"head_dim": 8, "sliding_window": 16},
}
SEQ2SEQ["mt5"] = SEQ2SEQ["t5"] | {"model_type": "mt5"}
ENCODERS = {
    "bert": {"model_type": "bert"} | COMMON,
    "roberta": {"model_type": "roberta", "pad_token_id": 1} | COMMON,
    "modernbert": {"model_type": "modernbert", "pad_token_id": 0} | COMMON,
    "mpnet": {"model_type": "mpnet", "pad_token_id": 1} | COMMON,
    "xlnet": {"model_type": "xlnet", "vocab_size": 40, "d_model": 16, "n_layer": 2, "n_head": 4, "d_inner": 24},
    "t5": SEQ2SEQ["t5"],
    "llama": {"model_type": "llama"} | GROUPED,
}
# Families whose logits are not those of their features, and without keys and values.
GRANITE = {"model_type": "granite", "logits_scaling": 4.0} | GROUPED
# Encoders that mix words with padding, and that look at pictures too.
FNET = {"model_type": "fnet", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 24}
CLIP = {"model_type": "clip", "text_config": COMMON, "vision_config": {**COMMON, "image_size": 8, "patch_size": 4}}
MAMBA = {"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 40}


# Whose checkpoints hold a softmax layer beside the word vectors to which the architecture ties it.
UNTIED = ("t5-untied", "mt5", "llama-untied")


def make_pair(folder, texts):
    """Fills a folder with models, each in one of its own with a tokenizer; that of decoders knows no padding."""
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    encoder_tokenizer = BertTokenizer(vocab=vocabulary)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=320, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    )
    backend.decoder = decoders.ByteLevel()
    decoder_tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", bos_token="<|end|>")
    torch.manual_seed(7)  # other weights than those with which a run's parts are built
    tied = {"tie_word_embeddings": True}
    for name, loader, architecture, tokenizer in (
        ("encoder", AutoModel, ENCODERS["bert"], encoder_tokenizer),
        ("decoder", AutoModelForCausalLM, DECODERS["llama"], decoder_tokenizer),
        ("llama", AutoModelForCausalLM, DECODERS["llama"] | tied, decoder_tokenizer),
        ("gpt2", AutoModelForCausalLM, DECODERS["gpt2"], decoder_tokenizer),
        ("gemma2", AutoModelForCausalLM, DECODERS["gemma2"], decoder_tokenizer),
        ("t5", AutoModelForSeq2SeqLM, SEQ2SEQ["t5"], decoder_tokenizer),
        ("bart", AutoModelForSeq2SeqLM, SEQ2SEQ["bart"], decoder_tokenizer),
        ("t5-untied", AutoModelForSeq2SeqLM, SEQ2SEQ["t5-untied"], decoder_tokenizer),
        ("mt5", AutoModelForSeq2SeqLM, SEQ2SEQ["mt5"], decoder_tokenizer),
        ("llama-untied", AutoModelForCausalLM, DECODERS["llama"] | tied, decoder_tokenizer),
        ("bert", AutoModelForCausalLM, ENCODERS["bert"], decoder_tokenizer),
        ("granite", AutoModelForCausalLM, GRANITE, decoder_tokenizer),
        ("mamba", AutoModelForCausalLM, MAMBA, decoder_tokenizer),
        ("fnet", AutoModel, FNET, encoder_tokenizer),
        ("clip", AutoModel, CLIP, encoder_tokenizer),
        ("causal", AutoModel, DECODERS["llama"], encoder_tokenizer),
    ):
        config = weights.configuration(architecture | {"vocab_size": len(tokenizer)})
        model = loader.from_config(config)
        if name in UNTIED:  # two tensors where the architecture says one
            model.set_output_embeddings(copy.deepcopy(model.get_output_embeddings()))
            model.all_tied_weights_keys.pop("lm_head.weight")
            torch.nn.init.normal_(model.get_output_embeddings().weight)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def recipe_of(pair, folder, texts, **model):
    """Four steps of training with models of a pair; `model` has keys of the encoder and of the decoder."""
    (folder / "texts.txt").write_text("\n".join(texts) + "\n")
    parts = {"encoder": {"kind": "pretrained", "name": str(pair / "encoder"), "train": "none"}}
    parts |= {"latent": {"size": 4}, "decoder": {"kind": "pretrained", "name": str(pair / "decoder")}}
    for side, values in model.items():
        parts[side] = parts[side] | values
    training = {"max_steps": 4, "per_device_train_batch_size": 8, "seed": 0, "bf16": False, "eval_steps": 2}
    values = {"data": {"source": str(folder / "texts.txt")}, "model": parts, "training": training | {"save_steps": 2}}
    return make_recipe(values | {"generation": {"max_new_tokens": 12, "do_sample": False}}, [], folder / "run")
