"""What the special tokens of a tokenizer made here are called."""

SPECIAL = {
    "pad_token": "<pad>",
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
# Ids where a vocabulary has to have a size and none is named.
DEFAULT_SIZE = 8000
