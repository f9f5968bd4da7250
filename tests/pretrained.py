"""Tiny random models of the families that pretrained parts come from."""

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
