# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Small random models of each family."""

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
)

import locant

SENTENCES = ("The old king's dog does not see the cat.", "Le vieux chien du roi ne voit pas le chat.")
SMALL = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 3, "vocab_size": 300}
LOCANT = {**SMALL, "encoder_attention_heads": 2, "decoder_attention_heads": 4, "max_position_embeddings": 128}
BART = {**LOCANT, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "pad_token_id": 0, "eos_token_id": 2}
ONE_STACK = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT = {**ONE_STACK, "intermediate_size": 16, "image_size": 12, "patch_size": 4}
T5 = {"vocab_size": 300, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
MODELS = {
    "locant translator": lambda: locant.LocantForConditionalGeneration(locant.LocantConfig(**LOCANT)),
    "locant encoder": lambda: locant.LocantForMaskedLM(locant.LocantConfig(**LOCANT, is_encoder_decoder=False)),
    "locant decoder": lambda: locant.LocantForCausalLM(locant.LocantConfig(**LOCANT, is_decoder=True)),
    "bert": lambda: BertModel(BertConfig(**ONE_STACK, intermediate_size=16)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=2, n_positions=64)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**ONE_STACK, intermediate_size=16)),
    "bart": lambda: BartForConditionalGeneration(BartConfig(**BART, decoder_start_token_id=2)),
    "marian": lambda: MarianMTModel(MarianConfig(**BART, decoder_start_token_id=0)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**T5, decoder_start_token_id=0)),
}
PATCHES = {"image_size": 12, "patch_size": 4, "encoder_input": "patches"}
IMAGE_MODELS = {
    "locant image encoder": lambda: locant.LocantForImageClassification(
        locant.LocantConfig(**LOCANT, **PATCHES, is_encoder_decoder=False, pooling="first")
    ),
    "locant captioner": lambda: locant.LocantForConditionalGeneration(locant.LocantConfig(**LOCANT, **PATCHES)),
    "vit": lambda: ViTModel(ViTConfig(**VIT)),
}


def build(name):
    """The model, in evaluation mode, with weights of a size that makes attention differ by token."""
    torch.manual_seed(0)
    model = {**MODELS, **IMAGE_MODELS}[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2 and parameter.requires_grad:  # Marian's sinusoids are a parameter too
                parameter.normal_(std=0.3)
    return model
