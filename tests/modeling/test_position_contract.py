# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Encodings outside of the package, which only use its public base classes, work in a model or are refused."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import Trainer, TrainingArguments
from transformers import initialization as init

from locant.modeling.attention_backends import check_backend
from locant.modeling.modeling_locant import LocantForConditionalGeneration
from locant.modeling.positions import DistanceBias, PositionBias, PositionEncoding, PositionLayer


@dataclass(frozen=True)
class FallBias(DistanceBias):
    """The logarithm of 1 + the distance, at most `reach`, times a trained number per head; doubled for later keys."""

    slopes: torch.Tensor
    reach: int

    def of_distance(self, head, distance):
        side = 1.0 + (distance > 0)  # later keys fall twice as fast
        return self.slopes[head] * distance.abs().clamp(max=self.reach).float().log1p() * side


class FallLayer(PositionLayer):
    def __init__(self, heads, reach):
        super().__init__()
        self.reach = reach
        self.slopes = nn.Parameter(torch.zeros(heads))

    def init_weights(self):
        init.normal_(self.slopes, mean=-1.0, std=0.5)

    def forward(self, query, key, inputs):
        return query, key, FallBias(inputs.query_key_index, self.slopes, self.reach)


class Fall(PositionEncoding):
    @classmethod
    def bias_types(cls, config):
        return frozenset({"pointwise"})

    def build_layer(self, layer_idx):
        return FallLayer(self.config.heads_at(self.kind), **self.config.position_options("fall"))


@dataclass(frozen=True)
class SidesBias(PositionBias):
    """Adds to the score the query times a trained vector for earlier, same or later keys, and to the output another."""

    products: torch.Tensor
    vectors: torch.Tensor

    has_output: ClassVar[bool] = True

    def pointwise(self, batch, head, q_idx, kv_idx):
        return self.products[batch, head, q_idx, self.index.distance(batch, q_idx, kv_idx).sign() + 1]

    def block(self, queries, keys):
        return replace(self, index=self.index.block(queries, keys), products=self.products[:, :, queries])

    def output(self, weights):
        batch, _, query, key = (
            torch.arange(n).view([-1 if k == i else 1 for k in range(4)]) for i, n in enumerate(weights.shape)
        )
        sides = (self.index.distance(batch, query, key).sign() + 1).expand(weights.shape)
        return torch.stack([(weights * (sides == side)).sum(-1) for side in range(3)], -1) @ self.vectors


class SidesLayer(PositionLayer):
    def __init__(self, head_dim):
        super().__init__()
        self.keys = nn.Parameter(torch.zeros(3, head_dim))
        self.vectors = nn.Parameter(torch.zeros(3, head_dim))

    def init_weights(self):
        init.normal_(self.keys, std=1.0)
        init.normal_(self.vectors, std=1.0)

    def forward(self, query, key, inputs):
        return query, key, SidesBias(inputs.query_key_index, query @ self.keys.T, self.vectors)


class Sides(PositionEncoding):
    @classmethod
    def bias_types(cls, config):
        return frozenset({"pointwise", "output"})

    def build_layer(self, layer_idx):
        return SidesLayer(self.config.head_dim_at(self.kind))


class Pairs(PositionEncoding):
    @classmethod
    def bias_types(cls, config):
        return frozenset({"dense"})


def check_fall(options, head_dim):
    if not 0 < options["reach"] <= 8 * head_dim:
        raise ValueError(f"reach must be above 0 and at most {8 * head_dim}, got {options['reach']}.")


@pytest.fixture
def fall(register):
    register("fall", Fall, options={"reach": 20}, check=check_fall)
    return "fall"


@pytest.fixture
def sides(register):
    register("sides", Sides)
    return "sides"


@pytest.fixture(params=["fall", "sides"])
def outside(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def from_outside(outside, make_model):
    """A model with the encoding in all three attentions."""
    return make_model(
        position_encoding=outside, cross_position_encoding=outside, encoder_key_value_heads=2, decoder_key_value_heads=2
    )


SOURCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 2]]
TARGETS = [[1, 21, 20, 19, 18], [1, 17, 16], [1, 15, 14, 13]]


@torch.no_grad()
def logits(model, backend="eager", **inputs):
    model.set_attn_implementation(backend)
    return model(**inputs).logits


class TestInAModel:
    @pytest.fixture
    def inputs(self, make_batch, side):
        ids, mask = make_batch(SOURCES, side)
        decoder_ids, decoder_mask = make_batch(TARGETS, side)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "decoder_input_ids": decoder_ids,
            "decoder_attention_mask": decoder_mask,
        }

    @pytest.mark.pairwise
    def test_backends_agree_or_are_refused(self, from_outside, outside, inputs, backend):
        expected = logits(from_outside, **inputs)
        if outside == "sides" and backend in ("sdpa", "flex_attention"):
            with pytest.raises(ValueError) as error:
                from_outside.set_attn_implementation(backend)
            assert str(error.value).startswith(
                f"{backend} cannot add the bias of the position encoding 'sides' to the output "
            )
            assert str(error.value).endswith("set attn_implementation to eager or blockwise.")
        else:
            real = inputs["decoder_attention_mask"].bool()
            torch.testing.assert_close(
                logits(from_outside, backend, **inputs)[real], expected[real], atol=1e-5, rtol=1e-5
            )

    def test_without_a_choice_the_backend_is_one_that_can(self, from_outside, outside):
        assert from_outside.config._attn_implementation == ("sdpa" if outside == "fall" else "blockwise")

    def test_it_tells_order(self, from_outside):
        ids, order = torch.tensor([[5, 6, 7, 8, 9]]), torch.tensor([3, 0, 4, 1, 2])
        encoder = from_outside.get_encoder()
        with torch.no_grad():
            difference = encoder(ids[:, order]).last_hidden_state - encoder(ids).last_hidden_state[:, order]
        assert difference.abs().max() > 1e-2

    def test_padding_does_not_disturb_it(self, from_outside, inputs):
        batch = logits(from_outside, **inputs)
        for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
            alone = logits(from_outside, input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target]))[0]
            real = inputs["decoder_attention_mask"][row].bool()
            torch.testing.assert_close(batch[row][real], alone, atol=1e-5, rtol=1e-5)

    @pytest.mark.pairwise
    @pytest.mark.parametrize("cache", ["dynamic", "static"])
    @pytest.mark.parametrize("beams", [1, 3])
    def test_generates_with_a_cache_what_it_generates_without(self, from_outside, make_batch, cache, beams):
        ids, mask = make_batch(SOURCES, "left")
        with_cache, without = (
            from_outside.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=8, num_beams=beams, no_repeat_ngram_size=2, **choice
            )
            for choice in ({"cache_implementation": cache}, {"use_cache": False})
        )
        assert with_cache.tolist() == without.tolist()


class TestParameters:
    """The parameters of an encoding: they are initialised, trained and saved."""

    def own(self, model):
        return {name: p for name, p in model.named_parameters() if ".position." in name}

    def test_are_initialised(self, outside, make_config):
        model = LocantForConditionalGeneration(make_config(position_encoding=outside))
        own = self.own(model)
        assert len(own) == {"fall": 4, "sides": 8}[outside]
        numbers = torch.cat([parameter.flatten() for parameter in own.values()])
        mean, std = {"fall": (-1.0, 0.5), "sides": (0.0, 1.0)}[outside]
        assert abs(numbers.mean() - mean) < std / 2
        assert 0.5 < numbers.std() / std < 1.5

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")
    def test_are_trained_by_the_trainer_and_saved(self, outside, make_config, tmp_path):
        model = LocantForConditionalGeneration(make_config(position_encoding=outside, norm_position="pre"))
        before = {name: parameter.clone() for name, parameter in self.own(model).items()}
        sentences = torch.randint(3, 24, (64, 5))
        arguments = TrainingArguments(
            output_dir=tmp_path,
            max_steps=40,
            per_device_train_batch_size=16,
            learning_rate=3e-3,
            logging_steps=5,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            seed=1,
        )
        # to say a sentence backwards takes knowing which word is which
        pairs = [{"input_ids": ids, "labels": ids.flip(0)} for ids in sentences]
        trainer = Trainer(model, arguments, train_dataset=pairs)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses[-1] < 0.8 * losses[0]
        for name, parameter in self.own(model).items():
            assert (parameter - before[name]).abs().max() > 1e-3

        trainer.save_model(tmp_path)
        loaded = LocantForConditionalGeneration.from_pretrained(tmp_path)
        assert type(loaded.model.encoder.layers[0].self_attn.position).__name__ == f"{outside.title()}Layer"
        for name, parameter in self.own(loaded).items():
            assert torch.equal(parameter, self.own(model)[name])
        inputs = {"input_ids": sentences[:4], "decoder_input_ids": sentences[4:8]}
        assert torch.equal(logits(loaded.eval(), **inputs), logits(model.eval(), **inputs))


class TestOptions:
    def test_have_defaults_and_come_from_the_config(self, fall, make_config):
        for parameters, reach in ((None, 20), ({"fall": {"reach": 2}}, 2)):
            config = make_config(position_encoding=fall, position_parameters=parameters)
            assert config.position_options("fall") == {"reach": reach}
            assert Fall(config).build_layer(0).reach == reach

    @pytest.mark.parametrize("head_dim", [8, 4])
    def test_are_checked_with_the_size_of_a_head(self, fall, make_config, head_dim):
        parameters = {"fall": {"reach": 8 * head_dim}}
        make_config(position_encoding=fall, head_dim=head_dim, position_parameters=parameters)
        parameters = {"fall": {"reach": 8 * head_dim + 1}}
        with pytest.raises(StrictDataclassError) as error:
            make_config(position_encoding=fall, head_dim=head_dim, position_parameters=parameters)
        expected = f"position_parameters['fall']: reach must be above 0 and at most {8 * head_dim}, got"
        assert expected in str(error.value)

    def test_unknown_ones_are_refused(self, fall, make_config):
        with pytest.raises(StrictDataclassError) as error:
            make_config(position_encoding=fall, position_parameters={"fall": {"slope": 2}})
        assert "has no option 'slope'; the options of fall are: reach." in str(error.value)


class TestRefusal:
    def test_in_cross_attention_where_it_makes_no_sense(self, register, make_config):
        register("added", PositionEncoding, in_cross_attention=False)
        make_config(position_encoding="added")
        with pytest.raises(StrictDataclassError, match="cross_position_encoding='added' is added to the embeddings"):
            make_config(cross_position_encoding="added")

    @pytest.mark.parametrize("backend", ["flash_attention_2", "flash_attention_3"])
    @pytest.mark.parametrize(
        ("cls", "able"),
        [
            (Fall, "eager, sdpa, blockwise or flex_attention"),
            (Sides, "eager or blockwise"),
            (Pairs, "eager, sdpa or blockwise"),
        ],
        ids=["pointwise", "output", "dense"],
    )
    def test_backends_that_cannot_add_the_bias_are_refused_in_one_sentence(
        self, register, make_config, cls, able, backend
    ):
        register("outside", cls)
        with pytest.raises(ValueError) as error:
            check_backend(backend, make_config(position_encoding="outside"), "decoder")
        assert str(error.value).startswith(
            f"{backend} cannot add the bias of the position encoding 'outside' to the scores of attention"
        )
        assert str(error.value).endswith(f": set attn_implementation to {able}.")
        assert str(error.value).count(". ") == 0

    def test_a_dense_bias_is_not_for_flex(self, register, make_config):
        register("outside", Pairs)
        with pytest.raises(ValueError, match=r"^flex_attention cannot add .* eager, sdpa or blockwise\.$"):
            check_backend("flex_attention", make_config(position_encoding="outside"), "encoder")

    def test_a_backend_without_a_mask_function_is_refused(self, make_config):
        with pytest.raises(ValueError, match=r"^a backend of the future has no mask function"):
            check_backend("a backend of the future", make_config(), "encoder")

    def test_a_bias_type_that_no_backend_knows_is_refused(self, register, make_config):
        register("outside", type("Odd", (PositionEncoding,), {"bias_types": classmethod(lambda cls, _: {"pairwise"})}))
        with pytest.raises(ValueError, match=r"^eager cannot add .*: no backend can add it\.$"):
            check_backend("eager", make_config(position_encoding="outside"), "encoder")
