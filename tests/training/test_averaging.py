# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
import pytest
import torch

from locant import LocantConfig, LocantForConditionalGeneration
from locant.training.run.averaging import load_mean_weights

SHAPE = {
    "vocab_size": 11,
    "d_model": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
}
EMBEDDINGS = ("model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head")
TIED = {"tie_word_embeddings": True, "share_encoder_decoder_embeddings": True}
UNTIED = {"tie_word_embeddings": False, "share_encoder_decoder_embeddings": False}


def random_model(seed, **options):
    torch.manual_seed(seed)
    return LocantForConditionalGeneration(LocantConfig(**SHAPE, **options))


def save(models, folder):
    folders = [folder / f"checkpoint-{i}" for i in range(len(models))]
    for model, path in zip(models, folders, strict=True):
        model.save_pretrained(path)
    return folders


@pytest.mark.parametrize("options", [TIED, UNTIED, {"position_encoding": "learned"}], ids=str)
def test_every_weight_is_the_mean_over_the_checkpoints(tmp_path, options):
    models = [random_model(seed, **options) for seed in range(3)]
    model = random_model(9, **options)
    load_mean_weights(model, save(models, tmp_path))
    states = [m.state_dict() for m in models]
    for name, weight in model.state_dict().items():
        expected = (states[0][name] + states[1][name] + states[2][name]) / 3
        torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-7, msg=name)


def test_tied_weights_stay_one_tensor_and_untied_ones_apart(tmp_path):
    for options, tensors in ((TIED, 1), (UNTIED, 3)):
        folder = tmp_path / str(tensors)
        model = random_model(9, **options)
        load_mean_weights(model, save([random_model(seed, **options) for seed in range(2)], folder))
        places = {model.get_submodule(name).weight.data_ptr() for name in EMBEDDINGS}
        assert len(places) == tensors
        model.save_pretrained(folder / "mean")
        loaded = LocantForConditionalGeneration.from_pretrained(folder / "mean")
        for name, weight in loaded.state_dict().items():
            assert torch.equal(weight, model.state_dict()[name]), name


def test_the_mean_of_one_checkpoint_is_that_checkpoint(tmp_path):
    only, model = random_model(0), random_model(1)
    load_mean_weights(model, save([only], tmp_path))
    assert all(torch.equal(weight, only.state_dict()[name]) for name, weight in model.state_dict().items())


def test_the_mean_is_taken_in_double_precision_and_given_in_the_precision_of_the_model(tmp_path):
    models = [random_model(seed).bfloat16() for seed in range(3)]
    model = random_model(9).bfloat16()
    load_mean_weights(model, save(models, tmp_path))
    name = "model.encoder.layers.0.self_attn.q_proj.weight"
    expected = sum(m.state_dict()[name].double() for m in models) / 3
    assert torch.equal(model.state_dict()[name], expected.bfloat16())
