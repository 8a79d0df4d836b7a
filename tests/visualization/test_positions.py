# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The pictures of position encodings equal formulas and implementations of others."""

import math

import numpy as np
import pytest
import torch
from transformers.models.t5.modeling_t5 import T5Attention

import locant
from locant.visualization.input_norms import input_norms
from locant.visualization.positions import MIN_POSITIONS, position_heatmaps
from locant.visualization.recording import record
from locant.visualization.similarity import similarity_heatmaps

from .models import LOCANT, PATCHES, SENTENCES, build


def translator(encoding, **options):
    torch.manual_seed(0)
    config = locant.LocantConfig(**{**LOCANT, **options}, position_encoding=encoding)
    return locant.LocantForConditionalGeneration(config).eval()


def only(heatmaps):
    assert len(heatmaps) == 1
    return heatmaps[0]


def test_the_sinusoids_are_those_of_the_paper():
    found = only(position_heatmaps(translator("sinusoidal"), 70))  # one picture for both stacks
    assert found.values.shape == (1, 1, 70, 16)
    for position in (0, 1, 69):
        for i in range(8):  # Vaswani et al. 2017, section 3.5
            angle = position / 10000 ** (2 * i / 16)
            assert found.values[0, 0, position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert found.values[0, 0, position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)
    assert "encoder.position" in found.caption
    assert "decoder.position" in found.caption


def test_a_learned_table_ends_where_it_ends():
    model = translator("learned", max_position_embeddings=10)
    encoder, decoder = position_heatmaps(model, 30)
    for found, stack in ((encoder, model.model.encoder), (decoder, model.model.decoder)):
        assert np.array_equal(found.values[0, 0], stack.position.embeddings.weight.detach().numpy())


def test_alibi_falls_by_the_slopes_of_the_paper():
    encoder, decoder = position_heatmaps(translator("alibi"), 3)
    slopes = [2.0 ** (-8 * (i + 1) / 4) for i in range(4)]  # Press et al. 2022, section 3, for 4 heads
    assert decoder.column_labels[0] == str(1 - MIN_POSITIONS)
    assert decoder.column_labels[-1] == "0"
    assert encoder.column_labels[-1] == str(MIN_POSITIONS - 1)
    for head, slope in enumerate(slopes):
        distances = np.array(list(map(int, decoder.column_labels)))
        assert np.allclose(decoder.values[0, 0, head], slope * distances)
    two = np.array(list(map(int, encoder.column_labels)))
    assert np.allclose(encoder.values[0, 0, 0], -(2.0**-4) * np.abs(two))


def test_t5_has_the_buckets_of_transformers():
    model = translator("t5")
    for stack in (model.model.encoder, model.model.decoder):
        torch.nn.init.normal_(stack.position.table)
    encoder, decoder = position_heatmaps(model, 200)
    for found, stack, bidirectional in (
        (encoder, model.model.encoder, True),
        (decoder, model.model.decoder, False),
    ):
        distances = torch.tensor(list(map(int, found.column_labels)))
        assert len(distances) == (399 if bidirectional else 200)
        buckets = T5Attention._relative_position_bucket(distances, bidirectional, num_buckets=32, max_distance=128)
        assert np.array_equal(found.values[0, 0], stack.position.table[buckets].T.detach().numpy())


def test_the_bias_of_t5_of_transformers_is_found():
    model = build("t5")
    encoder, decoder = position_heatmaps(model, 70)
    attention = model.encoder.block[0].layer[0].SelfAttention
    bias = attention.compute_bias(70, 70)[0].detach().numpy()
    for column, distance in enumerate(map(int, encoder.column_labels)):
        query, key = max(0, -distance), max(0, distance)
        assert np.array_equal(encoder.values[0, 0, :, column], bias[:, query, key])
    assert decoder.column_labels[-1] == "0"


@pytest.mark.parametrize("name", ["locant", "llama"])
def test_rotary_angles_are_position_times_frequency(name):
    model = build("llama") if name == "llama" else translator("rotary", decoder_attention_heads=2)
    found = only(position_heatmaps(model, 80))
    pairs = 4  # heads of size 8
    expected = np.outer(np.arange(80), 10000.0 ** (-2 * np.arange(pairs) / (2 * pairs)))
    assert found.values.shape == (1, 1, 80, pairs)
    assert np.allclose(np.exp(1j * found.values[0, 0]), np.exp(1j * expected), atol=1e-5)
    assert np.abs(found.values).max() <= math.pi + 1e-6


def test_shaw_has_the_vectors_of_each_layer():
    model = translator("shaw")
    found = position_heatmaps(model, 10)
    assert [len(entry.values) for entry in found] == [2, 3]
    layer = model.model.decoder.layers[2].self_attn.position
    assert np.array_equal(found[1].values[2, 0], layer.keys.detach().numpy())
    assert found[1].row_labels[0] == "-16"


def test_transformer_xl_has_the_bias_of_v_alone():
    model = translator("transformer_xl")
    layers = [layer.self_attn.position for layer in model.model.encoder.layers]
    for layer in layers:
        torch.nn.init.normal_(layer.position_bias)
    found = position_heatmaps(model, 10)[0]
    assert found.values.shape == (2, 1, 2, 2 * MIN_POSITIONS - 1)
    for column, distance in ((0, 1 - MIN_POSITIONS), (-1, MIN_POSITIONS - 1), (MIN_POSITIONS - 1, 0)):
        angles = -distance * 10000.0 ** (-np.arange(0, 16, 2) / 16)  # query minus key; Dai et al. 2019, section 3.3
        sinusoid = torch.tensor(np.concatenate([np.sin(angles), np.cos(angles)]), dtype=torch.float32)
        projected = layers[1].r_proj(sinusoid).view(2, 8)
        expected = (layers[1].position_bias * projected).sum(-1) / math.sqrt(8)
        assert np.allclose(found.values[1, 0, :, column], expected.detach().numpy(), atol=1e-5)


def test_no_encoding_has_no_picture():
    assert position_heatmaps(translator("none"), 10) == []


@pytest.mark.parametrize("encoding", ["sinusoidal", "learned", "rotary", "alibi", "t5", "none"])
def test_images(encoding):
    fields = {**LOCANT, **PATCHES, "image_size": [12, 8], "is_encoder_decoder": False, "pooling": "first"}
    model = locant.LocantForImageClassification(locant.LocantConfig(**fields, position_encoding=encoding))
    found = position_heatmaps(model, 10, (3, 2))
    assert len(found) == (encoding != "none")
    if encoding in ("alibi", "t5"):  # their distances are those of the sequence: one row of patches after the other
        position, distances = model.model.encoder.position, torch.tensor(list(map(int, found[0].column_labels)))
        assert distances.tolist() == list(range(1 - MIN_POSITIONS, MIN_POSITIONS))
        if encoding == "alibi":
            expected = -position.slopes[:, None] * distances.abs()
        else:
            buckets = T5Attention._relative_position_bucket(distances, True, num_buckets=32, max_distance=128)
            expected = position.table[buckets].T
        assert np.allclose(found[0].values[0, 0], expected.detach().numpy())
    if encoding == "sinusoidal":  # half of the width for the row, half for the column
        places = [(row, column) for row in range(3) for column in range(2)]
        for values, (row, column) in zip(found[0].values[0, 0], places, strict=True):
            for half, place in ((values[:8], row), (values[8:], column)):
                angles = place * 10000.0 ** (-np.arange(0, 8, 2) / 8)
                assert np.allclose(half[::2], np.sin(angles), atol=1e-6)
                assert np.allclose(half[1::2], np.cos(angles), atol=1e-6)
    if encoding == "learned":
        table = next(module for name, module in model.named_modules() if name.endswith("position.embeddings")).weight
        assert np.array_equal(found[0].values[0, 0], table.detach().numpy())
        assert found[0].row_labels[:2] == ["[class]", "patch 1, 1"]


def test_rotary_angles_of_patches_are_those_of_row_and_column():
    config = locant.LocantConfig(**LOCANT, **PATCHES, is_encoder_decoder=False, position_encoding="rotary")
    model = locant.LocantForImageClassification(config)
    found = only(position_heatmaps(model, 10, (3, 3)))
    encoding = next(module for module in model.modules() if hasattr(module, "inv_freq"))
    places = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))[None]
    _, (cos, sin) = encoding(torch.zeros(1, 9, config.d_model), places, (3, 3))
    pairs = cos.shape[-1] // 2
    assert found.values.shape == (1, 1, 9, pairs)
    assert np.allclose(np.cos(found.values[0, 0]), cos[0, 0, :, :pairs].numpy(), atol=1e-5)
    assert np.allclose(np.sin(found.values[0, 0]), sin[0, 0, :, pairs:].numpy(), atol=1e-5)
    assert found.row_labels[5] == "patch 2, 3"


@pytest.mark.parametrize(
    ("name", "embeddings", "positions"),
    [
        ("gpt2", "transformer.wte", "transformer.wpe"),
        ("bert", "embeddings.word_embeddings", "embeddings.position_embeddings"),
    ],
)
def test_tables_and_norms_of_other_models(name, embeddings, positions, tokenizer):
    model = build(name)
    words, table = (model.get_submodule(part).weight.detach().numpy() for part in (embeddings, positions))
    assert np.array_equal(only(position_heatmaps(model, 70)).values[0, 0], table[:70])
    recording = record(model, tokenizer, SENTENCES[0])
    norms = input_norms(model, recording)[0]
    assert np.allclose(norms.embeddings, np.linalg.norm(words[recording.source.ids], axis=1))
    assert np.allclose(norms.positions, np.linalg.norm(table[: len(recording.source.ids)], axis=1))


@pytest.mark.parametrize("name", ["locant translator", "locant encoder", "locant decoder", "marian", "bart"])
def test_norms_are_those_of_what_the_first_layer_gets(name, tokenizer):
    """The embeddings and the positions that the norms are of add up to the input of the first layer."""
    model = build(name)
    target = SENTENCES[1] if model.config.is_encoder_decoder else None
    recording = record(model, tokenizer, SENTENCES[0], target)
    norms = input_norms(model, recording)
    assert [entry.name for entry in norms] == (["encoder_input", "decoder_input"] if target else ["input"])
    stack = model.get_encoder() if target else model
    embed = stack.get_input_embeddings().weight.detach()[recording.source.ids]
    scaled = next(module for module in model.modules() if hasattr(module, "embed_scale")).embed_scale
    assert np.allclose(norms[0].embeddings, (embed * scaled).norm(dim=1), atol=1e-4)
    if name.startswith("locant") or name == "marian":  # sinusoids: each pair has norm 1
        assert np.allclose(norms[0].positions, math.sqrt(8), atol=1e-4)


def test_similarity_is_the_cosine_of_mean_vectors(tokenizer):
    model = build("bert")
    one, other = record(model, tokenizer, "the king sees"), record(model, tokenizer, "chien dog's")
    found = similarity_heatmaps(one, other)
    assert found.values.shape == (3, 1, 3, 2)
    with torch.no_grad():
        states = [
            model(**{"input_ids": tokenizer(text, return_tensors="pt")["input_ids"]}, output_hidden_states=True)
            for text in ("the king sees", "chien dog's")
        ]
    for layer in range(3):
        vectors = []
        for recording, output, word in ((one, states[0], 1), (other, states[1], 1)):
            tokens = [i for i, own in enumerate(recording.source.word_of_token) if own == word]
            vectors.append(output.hidden_states[layer][0, tokens].mean(0))
        expected = torch.nn.functional.cosine_similarity(*vectors, dim=0)
        assert found.values[layer, 0, 1, 1] == pytest.approx(expected.item(), abs=1e-5)
