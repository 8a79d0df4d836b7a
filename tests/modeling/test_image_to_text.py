# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Patches go in, tokens come out: the numbers of a ViT with a GPT-2 behind it, and generation."""

import re

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForImageTextToText,
    GPT2Config,
    GPT2LMHeadModel,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

import locant  # noqa: F401 (registers the Auto classes)
from locant.modeling.image_encoder import LocantImageEncoder
from locant.modeling.modeling_locant import LocantForConditionalGeneration, LocantModel
from locant.modeling.stacks import LocantDecoder

from .conftest import STEEP

IMAGES = {"encoder_input": "patches", "image_size": [12, 8], "patch_size": [4, 2]}
CROSS = ["none", "shaw", "transformer_xl", "t5", "alibi", "rotary"]
LABELS = torch.tensor([[11, 12, 2, -100], [13, 14, 15, 2]])
IDS = torch.tensor([[1, 11, 12, 2], [1, 13, 14, 15]])
poolings = pytest.mark.parametrize("pooling", ["first", "mean"])


def images(height=12, width=8, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height * 100 + width))


@pytest.fixture
def make_captioner(make_model):
    return lambda cls=LocantForConditionalGeneration, **fields: make_model(cls, **{**IMAGES, **fields})


# transformers' VisionEncoderDecoderModel with its weights; both stacks are pre-norm

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
GPT2_NAMES = {
    r"^decoder.transformer.wte": "model.decoder.embed_tokens",
    r"^decoder.transformer.wpe": "model.decoder.position.embeddings",
    r"^decoder.transformer.h\.": "model.decoder.layers.",
    r"^decoder.transformer.ln_f": "model.decoder.final_norm",
    r"^decoder.lm_head": "lm_head",
    r"\.attn.c_proj": ".self_attn.o_proj",
    r"\.crossattention.c_proj": ".cross_attn.o_proj",
    r"\.crossattention.q_attn": ".cross_attn.q_proj",
    r"mlp.c_fc": "ffn.up_proj",
    r"mlp.c_proj": "ffn.down_proj",
    r"ln_1": "self_attn_residual.norm",
    r"ln_cross_attn": "cross_attn_residual.norm",
    r"ln_2": "ffn_residual.norm",
}


def of_gpt2(tensors):
    """Tensors of GPT-2 under our names; its projections are transposed, and one of them holds several of ours."""
    ours = {}
    for name, tensor in tensors.items():
        tensor = tensor.T if tensor.ndim == 2 and ".h." in name else tensor
        if "c_attn" in name:
            letters, kind = ("kv", "cross_attn") if "crossattention" in name else ("qkv", "self_attn")
            parts = {
                re.sub(r"(crossattention|attn).c_attn", f"{kind}.{letter}_proj", name): part
                for letter, part in zip(letters, tensor.chunk(len(letters)), strict=True)
            }
        else:
            parts = {name: tensor}
        for part, values in parts.items():
            for theirs, own in GPT2_NAMES.items():
                part = re.sub(theirs, own, part)
            ours[part] = values
    return ours


@pytest.fixture
def pair(make_vit, spread, make_config, of_vit):
    """A captioner of transformers, and ours with its weights."""
    vit = make_vit(image_size=(12, 8), patch_size=(4, 2), hidden_act="gelu_new")
    vit.pooler = None
    gpt2 = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=24,
            n_embd=32,
            n_layer=3,
            n_head=2,
            n_inner=48,
            n_positions=32,
            add_cross_attention=True,
            is_decoder=True,
            activation_function="gelu_new",
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    ).eval()
    spread(gpt2, 8)
    with torch.no_grad():
        for table in (gpt2.transformer.wte, gpt2.transformer.wpe):
            table.weight.normal_()
    theirs = VisionEncoderDecoderModel(
        VisionEncoderDecoderConfig.from_encoder_decoder_configs(vit.config, gpt2.config, **TOKENS), vit, gpt2
    ).eval()
    for name, token in TOKENS.items():
        setattr(theirs.generation_config, name, token)
    ours = LocantForConditionalGeneration(
        make_config(
            **IMAGES,
            pooling="first",
            decoder_layers=3,
            decoder_attention_heads=2,
            activation_function="gelu_new",
            norm_position="pre",
            scale_embedding=False,
            position_encoding="learned",
        )
    ).eval()
    ours.load_state_dict(by_our_names(theirs.state_dict(), of_vit), strict=True)
    return theirs, ours


def by_our_names(tensors, of_vit):
    encoder = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    decoder = {name: tensor for name, tensor in tensors.items() if name.startswith("decoder.")}
    return {f"model.{name}": tensor for name, tensor in of_vit(encoder).items()} | of_gpt2(decoder)


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert theirs.std() > 0.1


class TestVisionEncoderDecoder:
    @torch.no_grad()
    def test_logits(self, pair, backend):
        pair[1].set_attn_implementation(backend)
        expected, outputs = (model(pixel_values=images(), decoder_input_ids=IDS) for model in pair)
        assert_same(outputs.logits, expected.logits)
        assert_same(outputs.encoder_last_hidden_state, expected.encoder_last_hidden_state)

    def test_loss_and_all_gradients(self, pair, of_vit):
        theirs, ours = pair
        losses = [model(pixel_values=images(), labels=LABELS).loss for model in pair]
        torch.testing.assert_close(losses[1], losses[0])
        for loss in losses:
            loss.backward()
        expected = by_our_names({name: p.grad for name, p in theirs.named_parameters()}, of_vit)
        parameters = dict(ours.named_parameters())
        assert set(parameters) == set(expected)  # the output layer is the table of tokens in both
        for name, gradient in expected.items():
            torch.testing.assert_close(
                parameters[name].grad, gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )

    @pytest.mark.parametrize("prompt", [None, IDS[:, :3]], ids=["", "prompt"])
    @pytest.mark.parametrize(
        "options",
        [{}, {"num_beams": 4, "num_return_sequences": 3}, {"num_beams": 3, "length_penalty": 2.0}],
        ids=["greedy", "beam", "beam with a length penalty"],
    )
    def test_generated_tokens_and_scores(self, pair, prompt, options):
        expected, ours = (
            model.generate(
                pixel_values=images(),
                decoder_input_ids=prompt,
                max_new_tokens=12,
                return_dict_in_generate=True,
                output_scores=True,
                no_repeat_ngram_size=2,
                **options,
            )
            for model in pair
        )
        assert ours.sequences.tolist() == expected.sequences.tolist()
        assert len(set(expected.sequences.flatten().tolist())) >= 5
        for step, expected_step in zip(ours.scores, expected.scores, strict=True):
            torch.testing.assert_close(step, expected_step, atol=1e-4, rtol=1e-4)


class TestGeneration:
    OPTIONS = {"max_new_tokens": 10, "no_repeat_ngram_size": 2, "num_beams": 2}  # noqa: RUF012

    @pytest.mark.sampled(2)
    @poolings
    def test_batched_as_one_by_one(self, make_captioner, encoding, pooling):
        model, batch = make_captioner(position_encoding=encoding, pooling=pooling), images(batch=3)
        together = model.generate(batch, **self.OPTIONS)
        for image, tokens in zip(batch, together, strict=True):
            (alone,) = model.generate(image[None], **self.OPTIONS)
            assert tokens[: len(alone)].tolist() == alone.tolist()
            assert set(tokens[len(alone) :].tolist()) <= {0, 2}  # beam search fills with the end where padding is 0
        assert len(set(together.flatten().tolist())) > 3

    @pytest.mark.parametrize("cross", CROSS)
    def test_caches_give_the_same_tokens(self, make_captioner, cross):
        model = make_captioner(position_encoding="rotary", cross_position_encoding=cross)
        expected = model.generate(images(), use_cache=False, **self.OPTIONS)
        for kind in ("dynamic", "static"):
            assert torch.equal(model.generate(images(), cache_implementation=kind, **self.OPTIONS), expected)

    @torch.no_grad()
    def test_steps_with_a_cache(self, make_captioner, encoding):
        model = make_captioner(position_encoding=encoding, cross_position_encoding="t5")
        expected = model(pixel_values=images(), decoder_input_ids=IDS).logits
        encoder_outputs, cache, steps = model.get_encoder()(images()), None, []
        for part in IDS.split([2, 1, 1], dim=1):
            outputs = model(
                encoder_outputs=encoder_outputs, decoder_input_ids=part, past_key_values=cache, use_cache=True
            )
            cache = outputs.past_key_values
            steps.append(outputs.logits)
        torch.testing.assert_close(torch.cat(steps, dim=1), expected, atol=1e-5, rtol=1e-5)

    def test_images_by_name_or_place(self, make_captioner):
        model = make_captioner()
        by_name = model.generate(pixel_values=images(), **self.OPTIONS)
        assert torch.equal(model.generate(images(), **self.OPTIONS), by_name)
        assert torch.equal(model.generate(inputs=images(), **self.OPTIONS), by_name)
        encoder_outputs = model.get_encoder()(images())
        for form in (encoder_outputs, encoder_outputs.to_tuple(), [encoder_outputs[0]]):
            assert torch.equal(model.generate(encoder_outputs=form, **self.OPTIONS), by_name)

    def test_a_prompt_is_continued(self, make_captioner):
        model = make_captioner(position_encoding="rotary")
        whole = model.generate(images(), max_new_tokens=8, min_new_tokens=8)
        continued = model.generate(images(), decoder_input_ids=whole[:, :4], max_new_tokens=5, min_new_tokens=5)
        assert torch.equal(continued, whole)

    def test_what_is_seen_decides(self, make_captioner):
        model = make_captioner()
        scores = [
            model.generate(
                batch, max_new_tokens=1, output_scores=True, return_dict_in_generate=True, use_cache=True
            ).scores[0]
            for batch in (images(), images() + torch.randn(3, 12, 8))
        ]
        assert (scores[0] - scores[1]).abs().max() > 0.05


class TestCrossAttention:
    @pytest.mark.parametrize("cross", CROSS)
    @poolings
    @torch.no_grad()
    def test_sees_patches_one_row_after_the_other(self, make_captioner, make_model, cross, pooling):
        """The decoder sees patches, row by row, like tokens of an encoder; the class token is the first of them."""
        model = make_captioner(LocantModel, cross_position_encoding=cross, pooling=pooling)
        states = model.encoder(images(24, 8)).last_hidden_state
        decoder = make_model(LocantDecoder, cross_position_encoding=cross)
        decoder.load_state_dict(model.decoder.state_dict())
        expected = decoder(
            input_ids=IDS,
            encoder_hidden_states=states,
            encoder_position_ids=torch.arange(states.shape[1])[None],
        ).last_hidden_state
        output = model(pixel_values=images(24, 8), decoder_input_ids=IDS).last_hidden_state
        torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-6)
        if cross != "none":
            positions = torch.arange(states.shape[1]).flip(0)[None]
            other = decoder(input_ids=IDS, encoder_hidden_states=states, encoder_position_ids=positions)
            assert (other.last_hidden_state - expected).abs().max() > 1e-3

    @torch.no_grad()
    def test_patches_can_be_hidden(self, make_captioner):
        model, mask = make_captioner(LocantModel), torch.ones(2, 12, dtype=torch.long)
        mask[:, 5:] = 0
        output = model(pixel_values=images(), decoder_input_ids=IDS, cross_attention_mask=mask).last_hidden_state
        states = model.encoder(images()).last_hidden_state[:, :5]
        expected = model(encoder_outputs=(states,), decoder_input_ids=IDS).last_hidden_state
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


class TestInputs:
    @pytest.mark.parametrize("cls", [LocantModel, LocantForConditionalGeneration])
    @pytest.mark.parametrize("name", ["input_ids", "attention_mask", "inputs_embeds", "position_ids", "token_type_ids"])
    def test_inputs_for_tokens_are_refused(self, make_captioner, cls, name):
        given = {name: torch.ones(2, 12, dtype=torch.long)}
        message = f"^{name} is given to an encoder of images, which takes pixel_values only"
        with pytest.raises(ValueError, match=message):
            make_captioner(cls)(pixel_values=images(), decoder_input_ids=IDS, **given)

    def test_tokens_are_refused_by_generate(self, make_captioner):
        model = make_captioner()
        with pytest.raises(ValueError, match="input_ids is given to an encoder of images"):
            model.generate(input_ids=IDS)
        with pytest.raises(ValueError, match=r"pixel_values have the shape \(2, 4\), but must be \(batch, 3, height"):
            model.generate(IDS)

    def test_generate_needs_images(self, make_captioner):
        model = make_captioner()
        for given in ({}, {"decoder_input_ids": IDS}):
            with pytest.raises(ValueError, match=r"needs pixel_values or encoder_outputs, but got neither: give"):
                model.generate(**given)
        outputs = model.get_encoder()(images())
        expected = model.generate(images(), max_new_tokens=3)
        assert torch.equal(model.generate(encoder_outputs=outputs, max_new_tokens=3), expected)

    def test_images_are_refused_by_a_translator(self, make_model):
        model = make_model()
        for call in (model, model.generate):
            with pytest.raises(ValueError, match="pixel_values is given to an encoder of tokens"):
                call(pixel_values=images(), decoder_input_ids=IDS)

    def test_images_of_a_wrong_shape_are_refused(self, make_captioner):
        model = make_captioner()
        with pytest.raises(ValueError, match=r"pixel_values have the shape \(2, 1, 12, 8\), but must be \(batch, 3"):
            model.generate(images()[:, :1])
        with pytest.raises(ValueError, match="An image of 13 × 8 pixels has no whole number of 4 × 2 patches"):
            model.generate(images(13, 8))

    def test_main_input_is_the_image(self, make_captioner):
        assert make_captioner().main_input_name == "pixel_values"


class TestTables:
    @pytest.mark.parametrize("tied", [True, False])
    def test_there_is_one_of_tokens(self, make_captioner, tied):
        """Only the decoder has a table of token embeddings."""
        model = make_captioner(tie_word_embeddings=tied)
        assert isinstance(model.get_encoder(), LocantImageEncoder)
        assert model.get_input_embeddings() is model.get_decoder().embed_tokens
        assert (model.lm_head.weight is model.get_decoder().embed_tokens.weight) == tied
        model.resize_token_embeddings(30)
        assert model.lm_head.weight.shape == model.get_decoder().embed_tokens.weight.shape == (30, 32)
        assert (model.lm_head.weight is model.get_decoder().embed_tokens.weight) == tied
        assert model(pixel_values=images(), decoder_input_ids=IDS + 6).logits.shape == (2, 4, 30)

    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("tied", [True, False])
    @torch.no_grad()
    def test_auto_classes_load_the_same_bits(self, make_captioner, encoding, tied, tmp_path):
        model = make_captioner(position_encoding=encoding, tie_word_embeddings=tied, cross_position_encoding="t5")
        model.save_pretrained(tmp_path)
        options = {"attn_implementation": model.config._attn_implementation}
        loaded, info = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True, **options)
        assert type(loaded) is LocantForConditionalGeneration and not any(info.values())
        inputs = {"pixel_values": images(24, 8), "decoder_input_ids": IDS}
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
        body = AutoModel.from_pretrained(tmp_path, **options)
        assert type(body) is LocantModel
        assert torch.equal(body(**inputs).last_hidden_state, model.model(**inputs).last_hidden_state)

    @torch.no_grad()
    def test_swapping_the_encoding(self, make_captioner, encoding):
        model = make_captioner(position_encoding="learned", pooling="first")
        swapped = model.with_position_encoding(encoding)
        old, new = model.state_dict(), swapped.state_dict()
        common = {name for name in new if ".position." not in name}
        assert common == {name for name in old if ".position." not in name}
        assert all(torch.equal(old[name], new[name]) for name in common)
        logits = [m(pixel_values=images(), decoder_input_ids=IDS).logits for m in (model, swapped)]
        assert torch.equal(*logits) == (encoding == "learned")


class TestTrainingAndCompilation:
    def loss_and_gradients(self, model, forward=None):
        torch.manual_seed(1)
        model.zero_grad()
        loss = (model if forward is None else forward)(pixel_values=images(24, 8), labels=LABELS).loss
        loss.backward()
        return loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    @pytest.mark.sampled(2)
    @pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_gradient_checkpointing_changes_no_number(self, make_captioner, encoding, reentrant):
        model = make_captioner(position_encoding=encoding, cross_position_encoding="rotary", dropout=0.2).train()
        expected, gradients = self.loss_and_gradients(model)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        loss, others = self.loss_and_gradients(model)
        torch.testing.assert_close(loss, expected, atol=0, rtol=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")

    @pytest.mark.slow
    @pytest.mark.parametrize("encoding", ["learned", "rotary"])
    def test_compiled_whole(self, make_captioner, encoding):
        model = make_captioner(position_encoding=encoding, encoder_layers=1, decoder_layers=1)
        expected, gradients = self.loss_and_gradients(model)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        loss, others = self.loss_and_gradients(model, compiled)
        torch._dynamo.reset()
        torch.testing.assert_close(loss, expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=1e-4)

    @pytest.mark.sampled(4)
    @poolings
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, make_captioner, encoding, pooling, dtype, assert_close_in_half):
        fields = {"position_encoding": encoding, "position_parameters": STEEP, "scale_embedding": False}
        model = make_captioner(pooling=pooling, **fields).to(dtype).float()
        expected = model(pixel_values=images(), labels=LABELS)
        with torch.autocast("cpu", dtype):
            assert_close_in_half(model(pixel_values=images(), labels=LABELS).logits, expected.logits)
        outputs = model.to(dtype)(pixel_values=images(), labels=LABELS)
        assert outputs.logits.dtype == dtype
        assert_close_in_half(outputs.logits, expected.logits)
        assert model.generate(images(), max_new_tokens=3, num_beams=2).shape[0] == 2
