# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Image encoders and classifiers: the numbers of ViT, the positions of patches, training, compilation and saving."""

import copy
import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoModel, AutoModelForImageClassification, ViTForImageClassification
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLVisionRotaryEmbedding, VisionAttention
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

import locant  # noqa: F401 (registers the Auto classes)
from locant.modeling.attention_inputs import AttentionInputs
from locant.modeling.image_encoder import LocantImageEncoder, PatchEmbedding
from locant.modeling.modeling_locant_decoder import LocantForCausalLM
from locant.modeling.modeling_locant_encoder import LocantEncoderModel, LocantForMaskedLM
from locant.modeling.modeling_locant_image import LocantForImageClassification
from locant.modeling.positions import PositionInputs, SlotIndex
from locant.modeling.stacks import LocantEncoder

from .conftest import STEEP

ENCODINGS = ["none", "sinusoidal", "learned", "shaw", "transformer_xl", "t5", "alibi", "rotary"]
IMAGES = {"encoder_input": "patches", "image_size": [12, 8], "patch_size": [4, 2], "scale_embedding": False}
GRID = (3, 4)
poolings = pytest.mark.parametrize("pooling", ["first", "mean"])


def images(height=12, width=8, batch=2, channels=3):
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(height * 100 + width))


@pytest.fixture
def make_images_model(make_model):
    """A function that makes a small image model with random numbers in all weights."""
    return lambda cls=LocantForImageClassification, **fields: make_model(cls, **{**IMAGES, **fields})


# ViT with its weights

SIZES = {
    "square": {"image_size": 12, "patch_size": 4},
    "wide": {"image_size": (8, 20), "patch_size": (4, 4)},
    "tall, flat patches": {"image_size": (15, 8), "patch_size": (3, 4), "num_channels": 1},
    "one patch": {"image_size": (6, 4), "patch_size": (6, 4)},
}


def pixels(size, batch=3):
    height, width = (size["image_size"],) * 2 if isinstance(size["image_size"], int) else size["image_size"]
    return images(height, width, batch, size.get("num_channels", 3))


@pytest.fixture
def with_weights_of(make_config, of_vit):
    """Our model with the weights of a ViT."""

    def make(vit, size, cls=LocantEncoderModel, **fields):
        config = make_config(
            encoder_input="patches",
            **{name: list(value) if isinstance(value, tuple) else value for name, value in size.items()},
            **fields,
            pooling="first",
            pooler_projection=cls is LocantEncoderModel,
            activation_function="gelu",
            norm_position="pre",
            position_encoding="learned",
        )
        ours = cls(config).eval()
        weights = of_vit(getattr(vit, "vit", vit).state_dict())
        if cls is LocantForImageClassification:
            weights = {f"model.{name}": weight for name, weight in weights.items()}
            weights |= {f"classifier.{name}": weight for name, weight in vit.classifier.state_dict().items()}
        ours.load_state_dict(weights, strict=True)
        return ours

    return make


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert theirs.std() > 0.1


class TestViT:
    @pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
    @torch.no_grad()
    def test_hidden_states_and_pooled_vector(self, make_vit, with_weights_of, size, backend):
        vit = make_vit(**size)
        ours = with_weights_of(vit, size)
        ours.set_attn_implementation(backend)
        expected, outputs = vit(pixels(size)), ours(pixel_values=pixels(size))
        assert_same(outputs.last_hidden_state, expected.last_hidden_state)
        assert_same(outputs.pooler_output, expected.pooler_output)

    @torch.no_grad()
    def test_states_and_weights_of_each_layer(self, make_vit, with_weights_of):
        size = SIZES["wide"]
        vit = make_vit(**size)
        ours = with_weights_of(vit, size)
        for model in (vit, ours):
            model.set_attn_implementation("eager")
        options = {"output_hidden_states": True, "output_attentions": True}
        expected, outputs = vit(pixels(size), **options), ours(pixel_values=pixels(size), **options)
        assert len(outputs.hidden_states) == len(expected.hidden_states) == 3
        for states, others in zip(outputs.hidden_states[:-1], expected.hidden_states[:-1], strict=True):
            assert_same(states, others)
        for weights, others in zip(outputs.attentions, expected.attentions, strict=True):
            torch.testing.assert_close(weights, others, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(
        ("labels", "num_labels"),
        [
            (torch.tensor([0, 3, 2]), 4),
            (torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 0]]), 4),
            (torch.tensor([0.5, -1.0, 2.0]), 1),
        ],
        ids=["one class", "several classes", "a number"],
    )
    def test_logits_loss_and_all_gradients(self, make_vit, with_weights_of, of_vit, labels, num_labels):
        size = SIZES["wide"]
        vit = make_vit(ViTForImageClassification, num_labels=num_labels, **size)
        ours = with_weights_of(vit, size, LocantForImageClassification, num_labels=num_labels)
        expected, outputs = (model(pixel_values=pixels(size), labels=labels) for model in (vit, ours))
        assert_same(outputs.logits, expected.logits)
        torch.testing.assert_close(outputs.loss, expected.loss)
        assert ours.config.problem_type == vit.config.problem_type
        for loss in (expected.loss, outputs.loss):
            loss.backward()
        parameters = dict(ours.named_parameters())
        theirs = of_vit({name: parameter.grad for name, parameter in vit.vit.named_parameters()})
        theirs = {f"model.{name}": gradient for name, gradient in theirs.items()}
        theirs |= {f"classifier.{name}": parameter.grad for name, parameter in vit.classifier.named_parameters()}
        assert theirs.keys() == parameters.keys()
        for name, gradient in theirs.items():
            torch.testing.assert_close(
                parameters[name].grad, gradient, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )

    # of 4 × 4 pixels in a patch; the last is of as many patches as those trained on
    @pytest.mark.parametrize("shape", [(24, 24), (8, 28), (4, 4), (36, 4)], ids=str)
    def test_images_of_another_size_than_trained(self, make_vit, with_weights_of, shape):
        size = {"image_size": 12, "patch_size": 4}
        vit = make_vit(**size)
        ours = with_weights_of(vit, size)
        expected = vit(images(*shape), interpolate_pos_encoding=True).last_hidden_state
        states = ours(pixel_values=images(*shape)).last_hidden_state
        assert_same(states, expected)
        weight = torch.randn_like(states) / states.shape[1]
        for output in (expected, states):
            (output * weight).sum().backward()
        table = vit.embeddings.position_embeddings.grad[0]
        torch.testing.assert_close(ours.encoder.position.embeddings.weight.grad, table, atol=1e-5, rtol=1e-4)
        assert table.abs().max() > 1e-3


# Rows and columns


@pytest.fixture
def embedding(make_config):
    return lambda **fields: PatchEmbedding(make_config(**{**IMAGES, **fields}))


class TestPatches:
    def test_each_is_projected_by_itself_row_by_row(self, embedding):
        patches, batch = embedding(), images()
        states = patches(batch)
        for token, (row, column) in enumerate((row, column) for row in range(3) for column in range(4)):
            patch = batch[:, :, 4 * row : 4 * row + 4, 2 * column : 2 * column + 2]
            torch.testing.assert_close(states[:, token], patches.projection(patch.reshape(2, -1)))

    def test_class_token_stands_in_front(self, embedding):
        patches = embedding(pooling="first")
        nn.init.normal_(patches.class_token)
        states = patches(images())
        assert torch.equal(states[:, 0], patches.class_token.expand(2, -1))
        assert states.shape == (2, 13, 32)

    def test_pixels_are_not_rounded_to_quantized_weights(self, embedding):
        """Pixels are cast to the dtype of `bias`, because `weight` of an 8-bit layer has an integer dtype."""

        class Quantized(nn.Module):
            def __init__(self, linear):
                super().__init__()
                self.weight = nn.Parameter((linear.weight * 100).to(torch.int8), requires_grad=False)
                self.bias = linear.bias

            def forward(self, states):
                return nn.functional.linear(states, self.weight / 100, self.bias)

        patches = embedding()
        quantized = Quantized(patches.projection)
        patches.projection.weight.data = quantized.weight / 100
        expected = patches(images())
        patches.projection = quantized
        torch.testing.assert_close(patches(images()), expected)


class TestWherePatchesAre:
    def test_in_images_as_trained_they_are_counted(self, embedding):
        positions = embedding().positions(GRID, torch.device("cpu"))
        assert positions.tolist() == [[[row, column] for row in range(3) for column in range(4)]]

    @pytest.mark.parametrize(
        ("grid", "rows", "columns"),
        [
            ((6, 4), [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25], [0, 1, 2, 3]),
            ((3, 8), [0, 1, 2], [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25]),
            ((1, 2), [1.0], [0.5, 2.5]),
        ],
    )
    def test_in_others_at_their_centres_place_in_the_trained_grid(self, embedding, grid, rows, columns):
        positions = embedding().positions(grid, torch.device("cpu"))
        torch.testing.assert_close(positions[0], torch.tensor([[r, c] for r in rows for c in columns]).double())

    def test_class_token_is_at_the_beginning(self, embedding):
        positions = embedding(pooling="first").positions((6, 8), torch.device("cpu"))
        assert positions.shape == (1, 49, 2)
        assert positions[0, :2].tolist() == [[0, 0], [-0.25, -0.25]]

    @pytest.mark.parametrize("grid", [(6, 8), (9, 4), (5, 7)], ids=str)
    @poolings
    def test_the_learned_table_is_stretched_to_them(self, make_images_model, pooling, grid):
        """With rows and columns as values, the stretched table gives positions of patches, except near the border."""
        encoder = make_images_model(
            LocantImageEncoder, position_encoding="learned", pooling=pooling, image_size=[24, 20]
        )
        table = encoder.position.embeddings.weight
        with torch.no_grad():
            table[-60:, :2] = torch.cartesian_prod(torch.arange(6.0), torch.arange(10.0))
            positions = encoder.embed_patches.positions(grid, table.device)
            added = encoder.position(torch.zeros(1, positions.shape[1], 32), positions, grid)[0]
        inside = ((positions[0] >= 1) & (positions[0] <= torch.tensor([4, 8]))).all(-1)
        assert inside.sum() >= 8
        # torch's cubic bends lines a little
        torch.testing.assert_close(added[0, inside, :2], positions[0, inside].float(), atol=0.06, rtol=0)
        if pooling == "first":
            assert torch.equal(added[0, 0], table[0])


def turning(encoder, positions):
    """The `PositionInputs` that the rotary layers of an image encoder get for these positions."""
    _, angles = encoder.position(torch.zeros(1), positions, None)
    return PositionInputs(SlotIndex(positions.shape[1], positions.shape[1]), angles, angles)


class TestSinusoidal:
    def added(self, model, grid):
        positions = model.embed_patches.positions(grid, torch.device("cpu"))
        return model.position(torch.zeros(1, positions.shape[1], model.config.d_model), positions, grid)[0][0]

    @pytest.mark.parametrize("grid", [(3, 4), (5, 2), (14, 14)], ids=str)
    @poolings
    def test_concatenated_is_the_table_of_mae(self, make_images_model, grid, pooling):
        """The class token gets the vector of row and column 0, and 0 in MAE: a constant, which the token can learn."""
        model = make_images_model(
            LocantImageEncoder,
            position_encoding="sinusoidal",
            position_parameters={"sinusoidal": {"layout": "concatenated"}},
            image_size=[4 * grid[0], 2 * grid[1]],
            pooling=pooling,
        )
        expected = build_2d_sinusoidal_position_embedding(*grid, 32)
        added = self.added(model, grid)
        torch.testing.assert_close(added[-len(expected) :], expected, atol=1e-6, rtol=0)
        if pooling == "first":
            torch.testing.assert_close(added[0], expected[0], atol=1e-6, rtol=0)

    @pytest.mark.parametrize("width", [32, 36, 30])
    @pytest.mark.parametrize("grid", [(3, 4), (6, 8)], ids=str)
    def test_interleaved_by_the_formula(self, make_images_model, width, grid):
        model = make_images_model(LocantImageEncoder, position_encoding="sinusoidal", d_model=width, head_dim=8)
        added, half = self.added(model, grid), width // 2
        for token, (row, column) in enumerate((row, column) for row in range(grid[0]) for column in range(grid[1])):
            for start, own, count, trained in ((0, row, grid[0], 3), (half, column, grid[1], 4)):
                position = (own + 0.5) * trained / count - 0.5
                for entry in range(half):
                    angle = position / 10000 ** ((entry - entry % 2) / half)
                    expected = math.cos(angle) if entry % 2 else math.sin(angle)
                    assert added[token, start + entry] == pytest.approx(expected, abs=1e-6)

    def test_widths_without_halves_are_refused(self, make_config):
        with pytest.raises(StrictDataclassError, match="d_model=33 is odd, but sinusoidal encoding uses half"):
            make_config(**IMAGES, d_model=33, encoder_attention_heads=3, decoder_attention_heads=3)


class TestRotary:
    @pytest.fixture
    def make_encoder(self, make_images_model):
        return lambda **fields: make_images_model(LocantImageEncoder, position_encoding="rotary", **fields)

    @pytest.mark.parametrize("grid", [GRID, (6, 8), (2, 3)], ids=str)
    @torch.no_grad()
    def test_attention_of_qwen2_vl(self, make_encoder, spread, backend, grid):
        encoder = make_encoder()
        encoder.set_attn_implementation(backend)
        ours = encoder.layers[0].self_attn
        config = Qwen2VLVisionConfig(embed_dim=32, num_heads=4)
        theirs, angles = VisionAttention(config).eval(), Qwen2VLVisionRotaryEmbedding(config)
        spread(theirs, 5)
        config._attn_implementation = "eager"
        projections = [ours.q_proj, ours.k_proj, ours.v_proj]
        for kind in ("weight", "bias"):
            for projection, values in zip(projections, getattr(theirs.qkv, kind).chunk(3), strict=True):
                getattr(projection, kind).copy_(values)
            getattr(ours.o_proj, kind).copy_(getattr(theirs.proj, kind))
        tokens = math.prod(grid)
        states, positions = torch.randn(1, tokens, 32), encoder.embed_patches.positions(grid, torch.device("cpu"))
        expected = theirs(states[0], torch.tensor([0, tokens]), angles(states, positions[0]))
        inputs = turning(encoder, positions)
        output = ours(states, AttentionInputs(inputs))[0][0]
        assert_same(output, expected)

    @pytest.mark.parametrize("pairing", ["halves", "interleaved"])
    @pytest.mark.parametrize("share", [1.0, 0.5])
    @torch.no_grad()
    def test_pairs_are_turned_by_row_and_column(self, make_encoder, pairing, share):
        """Compared with a loop: the first half of the rotated pairs follows the row, the second half the column."""
        encoder = make_encoder(
            head_dim=16,
            position_parameters={"rotary": {"pairing": pairing}},
            rope_parameters={"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": share},
        )
        positions = encoder.embed_patches.positions((6, 8), torch.device("cpu"))
        states, turned = torch.randn(1, 2, 48, 16), int(16 * share)
        output, _, _ = encoder.layers[0].self_attn.position(states, None, turning(encoder, positions))
        expected = states.clone()
        for pair in range(turned // 2):
            axis, place = divmod(pair, turned // 4)
            angle = positions[0, :, axis].float() * 100.0 ** (-2 * place / (turned // 2))
            one, other = (2 * pair, 2 * pair + 1) if pairing == "interleaved" else (pair, pair + turned // 2)
            first, second = states[..., one], states[..., other]
            expected[..., one] = first * angle.cos() - second * angle.sin()
            expected[..., other] = second * angle.cos() + first * angle.sin()
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("grid", [GRID, (6, 8)], ids=str)
    @torch.no_grad()
    def test_scores_depend_on_the_difference_of_rows_and_columns(self, make_encoder, grid):
        encoder = make_encoder()
        positions = encoder.embed_patches.positions(grid, torch.device("cpu"))
        query, key = (torch.randn(8).expand(1, 1, math.prod(grid), 8) for _ in range(2))
        query, key, _ = encoder.layers[0].self_attn.position(query, key, turning(encoder, positions))
        scores = (query @ key.mT)[0, 0]
        groups = {}
        for i, one in enumerate(positions[0].tolist()):
            for j, other in enumerate(positions[0].tolist()):
                groups.setdefault((one[0] - other[0], one[1] - other[1]), []).append(scores[i, j].item())
        assert len(groups) == (2 * grid[0] - 1) * (2 * grid[1] - 1)
        for group in groups.values():
            assert max(group) - min(group) < 1e-4
        assert len({round(group[0], 4) for group in groups.values()}) > 0.9 * len(groups)

    def test_heads_that_four_does_not_divide_are_refused(self, make_config):
        with pytest.raises(
            StrictDataclassError, match="a positive size that 4 divides, for the row and column of a patch"
        ):
            make_config(**IMAGES, position_encoding="rotary", head_dim=6)

    @pytest.mark.parametrize("rope_type", ["linear", "dynamic", "yarn"])
    @torch.no_grad()
    def test_other_rope_types_have_the_frequencies_of_transformers(self, make_encoder, rope_type):
        encoder = make_encoder(
            max_position_embeddings=2,  # less than the grid, so that dynamic frequencies change
            rope_parameters={"rope_type": rope_type, "rope_theta": 1e4, "factor": 2.0},
        )
        assert encoder(images(48, 24)).last_hidden_state.isfinite().all()
        positions = encoder.embed_patches.positions((12, 12), torch.device("cpu"))
        cos, sin = turning(encoder, positions).query_tensors
        of_an_axis = copy.copy(encoder.config)
        of_an_axis.head_dim = 4  # of 8
        frequencies, scaling = ROPE_INIT_FUNCTIONS[rope_type](of_an_axis, "cpu", seq_len=positions.max() + 1)
        assert (frequencies / torch.tensor([1.0, 0.01]) - 1).abs().max() > 0.1  # those of the default type
        angles = (positions[0, :, :, None].float() * frequencies).flatten(1)
        assert_same(cos[0, 0], torch.cat([angles.cos(), angles.cos()], dim=1) * scaling)
        assert_same(sin[0, 0], torch.cat([-angles.sin(), angles.sin()], dim=1) * scaling)


# All encodings


@poolings
class TestEncodings:
    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("shape", [(12, 8), (16, 20)], ids=str)
    @torch.no_grad()
    def test_backends_agree(self, make_images_model, served, pooling, shape):
        encoding, backend = served
        model = make_images_model(position_encoding=encoding, pooling=pooling)
        model.set_attn_implementation("eager")
        expected = model(images(*shape)).logits
        model.set_attn_implementation(backend)
        torch.testing.assert_close(model(images(*shape)).logits, expected, atol=1e-5, rtol=1e-5)
        assert expected.std() > 0.05

    @torch.no_grad()
    def test_order_of_patches(self, make_images_model, encoding, pooling):
        """Reordered patches give the same states in that order without an encoding, and other states with one."""
        encoder = make_images_model(LocantImageEncoder, position_encoding=encoding, pooling=pooling)
        order, batch, before = torch.randperm(12), images(), int(pooling == "first")
        cut = batch.unflatten(2, (3, 4)).unflatten(4, (4, 2)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)[:, order]
        permuted = cut.unflatten(1, GRID).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
        states = encoder(batch).last_hidden_state
        others = encoder(permuted).last_hidden_state
        expected = torch.cat([states[:, :before], states[:, before:][:, order]], dim=1)
        difference = (others - expected).abs().max()
        assert difference < 1e-5 if encoding == "none" else difference > 1e-2

    @pytest.mark.parametrize("encoding", ["none", "shaw", "transformer_xl", "t5", "alibi"])
    @torch.no_grad()
    def test_those_by_distance_see_one_row_after_the_other(self, make_images_model, make_model, encoding, pooling):
        """The states equal those of a token encoder that gets the embedded patches as `inputs_embeds`."""
        encoder = make_images_model(LocantImageEncoder, position_encoding=encoding, pooling=pooling)
        of_tokens = make_model(LocantEncoder, position_encoding=encoding, scale_embedding=False)
        of_tokens.load_state_dict(encoder.state_dict(), strict=False)
        expected = of_tokens(inputs_embeds=encoder.embed_patches(images())).last_hidden_state
        torch.testing.assert_close(encoder(images()).last_hidden_state, expected, atol=1e-6, rtol=1e-6)

    def test_every_parameter_gets_a_gradient(self, make_images_model, encoding, pooling):
        model = make_images_model(position_encoding=encoding, pooling=pooling, norm_position="pre")
        model(images(24, 16), labels=torch.tensor([0, 1])).loss.backward()
        zero = {name for name, parameter in model.named_parameters() if parameter.grad.abs().max() < 1e-6}
        biases = {name for name, _ in model.named_parameters() if name.endswith("k_proj.bias")}
        assert zero == (set() if encoding == "rotary" else biases)

    @torch.no_grad()
    def test_an_image_is_alone_in_its_batch(self, make_images_model, encoding, pooling):
        model = make_images_model(position_encoding=encoding, pooling=pooling)
        batch = images(batch=3)
        alone = torch.cat([model(image[None]).logits for image in batch])
        torch.testing.assert_close(model(batch).logits, alone, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_one_vector_of_all(self, make_images_model, encoding, pooling):
        outputs = make_images_model(LocantEncoderModel, position_encoding=encoding, pooling=pooling)(
            pixel_values=images()
        )
        states = outputs.last_hidden_state
        assert states.shape == (2, 12 + (pooling == "first"), 32)
        torch.testing.assert_close(outputs.pooler_output, states[:, 0] if pooling == "first" else states.mean(1))

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, make_images_model, encoding, pooling, dtype, assert_close_in_half):
        fields = {"position_encoding": encoding, "position_parameters": STEEP, "num_labels": 20}
        model = make_images_model(pooling=pooling, **fields).to(dtype).float()
        batch = {"pixel_values": images(24, 16), "labels": torch.tensor([0, 1])}
        expected = model(**batch)
        with torch.autocast("cpu", dtype):
            assert_close_in_half(model(**batch).logits, expected.logits)
        outputs = model.to(dtype)(**batch)
        assert outputs.logits.dtype == dtype
        assert_close_in_half(outputs.logits, expected.logits)
        outputs.loss.backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())

    @torch.no_grad()
    def test_far_positions_stay_exact_in_half_precision(self, make_images_model, pooling):
        """In bfloat16, every second column from 257 on would get the position of its neighbour."""
        encoder = make_images_model(
            LocantImageEncoder, position_encoding="sinusoidal", pooling=pooling, image_size=[4, 600]
        )
        positions = encoder.embed_patches.positions((1, 300), torch.device("cpu"))
        length = positions.shape[1]
        exact = encoder.position(torch.zeros(1, length, 32), positions, (1, 300))[0]
        encoder.to(torch.bfloat16)
        states = encoder.position(torch.zeros(1, length, 32, dtype=torch.bfloat16), positions, (1, 300))[0]
        assert torch.equal(states, exact.bfloat16())


# What it is given


class TestInputs:
    @pytest.mark.parametrize(
        ("batch", "message"),
        [
            (
                images(channels=1),
                r"pixel_values have the shape \(2, 1, 12, 8\), but must be \(batch, 3, height, width\)",
            ),
            (images()[0], r"pixel_values have the shape \(3, 12, 8\)"),
            (images(3, 8)[0], r"pixel_values have the shape \(3, 3, 8\)"),
            (images(13, 8), "An image of 13 × 8 pixels has no whole number of 4 × 2 patches: resize it."),
            (images(12, 9), "An image of 12 × 9 pixels has no whole number of 4 × 2 patches: resize it."),
        ],
        ids=["channels", "no batch", "no batch, as high as channels", "height", "width"],
    )
    def test_images_of_a_wrong_shape_are_refused(self, make_images_model, batch, message):
        with pytest.raises(ValueError, match=message):
            make_images_model()(batch)

    @pytest.mark.parametrize("cls", [LocantForImageClassification, LocantEncoderModel, LocantImageEncoder])
    @pytest.mark.parametrize("name", ["input_ids", "attention_mask", "inputs_embeds", "position_ids", "document_ids"])
    def test_inputs_for_tokens_are_refused(self, make_images_model, cls, name):
        with pytest.raises(
            ValueError, match=f"^{name} is given to an encoder of images, which takes pixel_values only"
        ):
            make_images_model(cls)(pixel_values=images(), **{name: torch.ones(2, 12, dtype=torch.long)})

    def test_no_images_are_refused(self, make_images_model):
        with pytest.raises(ValueError, match="An encoder of images needs pixel_values"):
            make_images_model()()

    @pytest.mark.parametrize("cls", [LocantEncoderModel, LocantForMaskedLM, LocantForCausalLM])
    def test_images_are_refused_by_models_of_text(self, make_model, cls):
        with pytest.raises(ValueError, match="pixel_values is given to"):
            make_model(cls)(input_ids=torch.tensor([[5, 6]]), pixel_values=images())

    @torch.no_grad()
    def test_pixels_of_any_type(self, make_images_model):
        model, batch = make_images_model(), images().mul(50).byte()
        expected = model(batch.float()).logits
        assert torch.equal(model(batch).logits, expected)
        assert torch.equal(model(batch.double()).logits, expected)
        assert model.bfloat16()(batch.float()).logits.dtype == torch.bfloat16

    def test_main_input_is_the_image(self, make_images_model):
        assert make_images_model().main_input_name == "pixel_values"

    @pytest.mark.parametrize("cls", [LocantForImageClassification, LocantEncoderModel])
    def test_patches_that_do_not_fill_the_image_are_refused(self, make_images_model, cls):
        with pytest.raises(StrictDataclassError, match="patch_size 4 does not divide the height 14 of image_size"):
            make_images_model(cls, image_size=[14, 8])

    def test_a_classifier_reads_images_whatever_its_config_says(self, make_config):
        config = make_config(**{**IMAGES, "encoder_input": "tokens"})
        model = LocantForImageClassification(config)
        assert model.config.encoder_input == "patches" and config.encoder_input == "tokens"
        assert isinstance(model.model.encoder, LocantImageEncoder)


# What it must live through


def loss_and_gradients(model, forward=None):
    torch.manual_seed(1)
    model.zero_grad()
    loss = (model if forward is None else forward)(pixel_values=images(24, 16), labels=torch.tensor([0, 1])).loss
    loss.backward()
    return loss.detach(), {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


class TestTrainingAndCompilation:
    @pytest.mark.sampled(4)
    @pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_gradient_checkpointing_changes_no_number(self, make_images_model, trained, reentrant):
        encoding, backend = trained
        model = make_images_model(position_encoding=encoding, pooling="first", dropout=0.2, attention_dropout=0.1)
        model.set_attn_implementation(backend)
        model.train()
        expected, gradients = loss_and_gradients(model)
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        calls = []
        model.model.encoder.layers[0].ffn.register_forward_hook(lambda *_: calls.append(1))
        loss, others = loss_and_gradients(model)
        assert len(calls) == 2
        torch.testing.assert_close(loss, expected, atol=0, rtol=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")

    @pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
    def test_frozen_patches_with_gradient_checkpointing(self, make_images_model):
        """`enable_input_require_grads`, which PEFT calls, makes checkpointing work with a frozen embedding."""
        model = make_images_model(position_encoding="rotary").train()
        model.requires_grad_(False)
        model.model.encoder.layers.requires_grad_(True)
        assert model.get_input_embeddings() is model.model.encoder.embed_patches.projection
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": True})
        model(images(), labels=torch.tensor([0, 1])).loss.backward()
        assert model.model.encoder.layers[0].self_attn.q_proj.weight.grad.abs().max() > 0

    def test_another_projection_of_patches_is_used(self, make_images_model):
        model = make_images_model(position_encoding="rotary")
        expected = model(images()).logits
        projection = copy.deepcopy(model.get_input_embeddings())
        model.set_input_embeddings(projection)
        assert model.get_input_embeddings() is projection
        assert model(images()).logits.equal(expected)
        torch.nn.init.zeros_(projection.weight)
        assert not model(images()).logits.equal(expected)

    @pytest.mark.slow
    @pytest.mark.parametrize("encoding", ENCODINGS)
    def test_compiled_whole(self, make_images_model, encoding):
        """`backend="eager"` traces as any other backend does, and generates no code."""
        model = make_images_model(position_encoding=encoding, pooling="first", encoder_layers=1)
        expected, gradients = loss_and_gradients(model)
        loss, others = loss_and_gradients(model, torch.compile(model, fullgraph=True, backend="eager"))
        torch._dynamo.reset()
        torch.testing.assert_close(loss, expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=1e-4)

    @pytest.mark.slow
    @pytest.mark.parametrize("encoding", ["sinusoidal", "learned", "rotary"])
    @torch.no_grad()
    def test_compiled_for_images_of_all_sizes(self, make_images_model, encoding):
        model = make_images_model(position_encoding=encoding, encoder_layers=1)
        compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
        for shape in ((16, 12), (24, 16), (12, 8), (32, 6)):
            torch.testing.assert_close(
                compiled(pixel_values=images(*shape)).logits, model(images(*shape)).logits, atol=1e-5, rtol=1e-5
            )
        torch._dynamo.reset()

    @pytest.mark.slow
    @pytest.mark.parametrize("encoding", ["sinusoidal", "learned", "rotary"])
    def test_generated_code(self, make_images_model, encoding):
        model = make_images_model(position_encoding=encoding, pooling="first", encoder_layers=1)
        expected, gradients = loss_and_gradients(model)
        loss, others = loss_and_gradients(model, torch.compile(model, fullgraph=True))
        torch._dynamo.reset()
        torch.testing.assert_close(loss, expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-5, rtol=1e-3)

    @pytest.mark.parametrize(
        "encoding",
        [name if name in ("learned", "rotary") else pytest.param(name, marks=pytest.mark.slow) for name in ENCODINGS],
    )
    @torch.no_grad()
    def test_export_with_any_number_of_images(self, make_images_model, encoding):
        model = make_images_model(position_encoding=encoding, pooling="first", encoder_layers=1)
        if encoding == "shaw":  # the default, blockwise, has blocks of a size that follows from the batch
            model.set_attn_implementation("eager")
        batch = torch.export.Dim("batch", min=1, max=64)
        exported = torch.export.export(
            model, (), {"pixel_values": images()}, dynamic_shapes={"pixel_values": {0: batch}}
        ).module()
        for number in (2, 5):
            batch = images(batch=number)
            torch.testing.assert_close(exported(pixel_values=batch).logits, model(batch).logits, atol=1e-5, rtol=1e-5)


class TestInitialization:
    @pytest.fixture
    def wide(self, make_config):
        return lambda **fields: LocantForImageClassification(
            make_config(
                **{**IMAGES, "image_size": [64, 32]},
                d_model=96,
                encoder_ffn_dim=200,
                position_encoding="learned",
                pooling="first",
                **fields,
            )
        )

    def test_xavier(self, wide):
        encoder = wide(initializer_range=0.03).model.encoder
        projection, bound = encoder.embed_patches.projection, (6 / (24 + 96)) ** 0.5
        assert 0.95 * bound < projection.weight.abs().max() <= bound
        assert projection.bias.abs().max() == 0
        assert abs(encoder.position.embeddings.weight.std() / 96**-0.5 - 1) < 0.1
        assert 0.02 < encoder.embed_patches.class_token.std() < 0.04

    def test_normal(self, wide):
        encoder = wide(initializer="normal", initializer_range=0.05).model.encoder
        assert abs(encoder.embed_patches.projection.weight.std() / 0.05 - 1) < 0.1
        assert encoder.embed_patches.projection.bias.abs().max() == 0
        assert abs(encoder.position.embeddings.weight.std() / 0.05 - 1) < 0.1
        assert 0.035 < encoder.embed_patches.class_token.std() < 0.065

    @pytest.mark.parametrize(
        ("initializer", "std_of_patches", "std_of_classifier"),
        [("xavier", (2 / (24 + 96)) ** 0.5, (2 / (96 + 200)) ** 0.5), ("normal", 0.02, 0.02)],
        ids=["xavier", "normal"],
    )
    @torch.no_grad()
    def test_signals_have_the_size_that_the_initializer_gives_them(
        self, wide, initializer, std_of_patches, std_of_classifier
    ):
        model = wide(initializer=initializer, num_labels=200).eval()
        batch = images(64, 32, batch=8)
        patches = model.model.encoder.embed_patches(batch)[:, 1:]
        assert patches.std() == pytest.approx(24**0.5 * std_of_patches, rel=0.1)
        assert model(batch).logits.std() == pytest.approx(96**0.5 * std_of_classifier, rel=0.25)

    def test_weights_missing_in_a_checkpoint_are_drawn(self, make_images_model, tmp_path):
        """The checkpoint, a body with mean pooling, has no head and no class token."""
        body = make_images_model(LocantEncoderModel, position_encoding="rotary")
        body.save_pretrained(tmp_path)
        model, info = LocantForImageClassification.from_pretrained(
            tmp_path, pooling="first", num_labels=9, initializer_range=0.05, output_loading_info=True
        )
        token = "model.encoder.embed_patches.class_token"
        assert set(info["missing_keys"]) == {token, "classifier.weight", "classifier.bias"}
        assert 0.03 < model.get_parameter(token).std() < 0.08
        assert torch.equal(
            model.model.encoder.embed_patches.projection.weight, body.encoder.embed_patches.projection.weight
        )


class TestSaving:
    @pytest.mark.sampled(2)
    @poolings
    @torch.no_grad()
    def test_auto_classes_load_the_same_bits(self, make_images_model, encoding, pooling, tmp_path):
        model = make_images_model(position_encoding=encoding, pooling=pooling, num_labels=3)
        model.save_pretrained(tmp_path)
        options = {"attn_implementation": model.config._attn_implementation, "output_loading_info": True}
        loaded, info = AutoModelForImageClassification.from_pretrained(tmp_path, **options)
        assert type(loaded) is LocantForImageClassification and not any(info.values())
        assert torch.equal(loaded(images(24, 16)).logits, model(images(24, 16)).logits)
        body = AutoModel.from_pretrained(tmp_path, attn_implementation=model.config._attn_implementation)
        assert type(body) is LocantEncoderModel
        assert torch.equal(body(pixel_values=images()).pooler_output, model.model(pixel_values=images()).pooler_output)

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("device_map", ["cpu", "auto"])
    @torch.no_grad()
    def test_device_map(self, make_images_model, encoding, tmp_path, device_map):
        model = make_images_model(position_encoding=encoding, pooling="first")
        model.save_pretrained(tmp_path)
        loaded = LocantForImageClassification.from_pretrained(tmp_path, device_map=device_map)
        assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
        model.to(loaded.device)
        for name, buffer in model.named_buffers():
            assert torch.equal(loaded.get_buffer(name), buffer)
        batch = images().to(loaded.device)
        assert torch.equal(loaded(batch).logits, model(batch).logits)

    @torch.no_grad()
    def test_weights_that_stay_on_disk(self, make_images_model, encoding, tmp_path):
        pytest.importorskip("accelerate")
        model = make_images_model(position_encoding=encoding, pooling="first")
        model.save_pretrained(tmp_path)
        loaded = LocantForImageClassification.from_pretrained(
            tmp_path,
            device_map={"": "disk"},
            offload_folder=tmp_path / "offloaded",
            attn_implementation=model.config._attn_implementation,
        )
        assert all(parameter.is_meta for parameter in loaded.parameters())
        torch.testing.assert_close(loaded(images(24, 16)).logits, model(images(24, 16)).logits)

    def test_patches_are_on_one_device(self, make_images_model):
        """Class token and patches are concatenated, so no device map may put them on different devices."""
        accelerate = pytest.importorskip("accelerate")
        model = make_images_model(pooling="first")
        for memory in range(5_000, 60_000, 1_000):
            devices = accelerate.infer_auto_device_map(
                model, {"cpu": memory, "disk": 10**9}, no_split_module_classes=model._no_split_modules
            )
            assert not any("embed_patches." in name for name in devices)

    @pytest.mark.parametrize("encoding", ["sinusoidal", "rotary"])
    @torch.no_grad()
    def test_another_image_size_stretches_positions(self, make_images_model, encoding, tmp_path):
        """A model that is loaded with another `image_size` computes positions in the grid of that size."""
        model = make_images_model(position_encoding=encoding)
        model.save_pretrained(tmp_path)
        loaded = LocantForImageClassification.from_pretrained(tmp_path, image_size=[24, 16])
        assert loaded.config.patch_grid == (6, 8)
        large, small = images(24, 16), images()
        assert not torch.allclose(loaded(large).logits, model(large).logits, atol=1e-4)
        # a grid of the size of the first is counted there as here
        larger = make_images_model(position_encoding=encoding, image_size=[24, 16])
        assert torch.equal(loaded(small).logits, larger(small).logits)

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    @torch.no_grad()
    def test_loading_in_half_precision(self, make_images_model, encoding, dtype, tmp_path):
        model = make_images_model(position_encoding=encoding, pooling="first")
        model.save_pretrained(tmp_path)
        loaded = LocantForImageClassification.from_pretrained(tmp_path, dtype=dtype)
        assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
        assert {buffer.dtype for buffer in loaded.buffers()} <= {torch.float32}
        assert torch.equal(loaded(images()).logits, model.to(dtype)(images()).logits)


class TestSwapping:
    @pytest.mark.parametrize("before", ["learned", "rotary"])
    @torch.no_grad()
    def test_all_other_weights_stay(self, make_images_model, make_config, before, encoding):
        model = make_images_model(position_encoding=before, pooling="first")
        swapped = model.with_position_encoding(encoding)
        old, new = model.state_dict(), swapped.state_dict()
        common = {name for name in new if ".position." not in name}
        assert common == {name for name in old if ".position." not in name}
        assert all(torch.equal(old[name], new[name]) for name in common)
        made = LocantForImageClassification(make_config(**IMAGES, pooling="first", position_encoding=encoding)).eval()
        made.load_state_dict(new)
        torch.testing.assert_close(swapped(images(24, 16)).logits, made(images(24, 16)).logits, atol=0, rtol=0)
        if before == encoding:
            assert torch.equal(swapped(images()).logits, model(images()).logits)

    def test_a_table_of_the_grid_is_not_one_of_tokens(self, make_images_model, tmp_path):
        model = make_images_model(position_encoding="none")
        model.save_pretrained(tmp_path)
        loaded = LocantForImageClassification.from_pretrained(tmp_path, position_encoding="learned")
        assert loaded.model.encoder.position.embeddings.weight.shape == (12, 32)
