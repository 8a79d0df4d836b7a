# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Draws the pictures of docs/concepts and docs/mistakes.md into docs/images/concepts.

make concept-pictures                            # also trains the two translators that some pictures show
python benchmarks/concept_pictures.py attention  # draws some of the pictures
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_digits
from torch import nn
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from locant import LocantConfig, LocantDecoderModel, LocantEncoderModel
from locant.modeling.attention_inputs import build_mask
from locant.modeling.positions import SlotIndex
from locant.modeling.positions.alibi import alibi_slopes
from locant.modeling.positions.rotary import cos_sin_of_entries, rotate
from locant.modeling.positions.sinusoidal import SinusoidalGridEncoding, sinusoidal_table
from locant.modeling.positions.t5 import t5_bucket

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "images" / "concepts"
TRANSLATOR, FEW_PAIRS = ROOT / "runs" / "phrasebook", ROOT / "runs" / "phrasebook-600"
TEST_SENTENCES = ROOT / "examples" / "data" / "phrasebook" / "test.en"
# Okabe and Ito's colours, which colour-blind readers can tell apart
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"


def draw_embeddings(figure: Any) -> None:
    """The norms of embeddings and position vectors, by width and for the tokens of a sentence."""
    figure.set_size_inches(9, 3.2)
    by_width, by_token = figure.subplots(1, 2)
    widths = [64, 128, 256, 512, 1024]
    rows, scaled, positions = [], [], []
    for width in widths:
        torch.manual_seed(0)
        encoder = LocantEncoderModel(LocantConfig(vocab_size=1000, d_model=width, encoder_layers=1)).encoder
        ids = torch.arange(3, 1000)[None]
        rows.append(encoder.embed_tokens(ids).norm(dim=-1).mean().item())
        scaled.append(encoder.embed(ids, None).norm(dim=-1).mean().item())
        positions.append(sinusoidal_table(100, width).norm(dim=-1).mean().item())
    by_width.plot(widths, rows, "o-", color=GREY, label="embedding, not scaled")
    by_width.plot(widths, scaled, "o-", color=BLUE, label="embedding × √d_model")
    by_width.plot(widths, positions, "o-", color=VERMILION, label="position vector")
    by_width.set_xscale("log", base=2)
    by_width.set_xticks(widths, [str(width) for width in widths])
    by_width.set(xlabel="d_model", ylabel="norm", title="Before training")
    by_width.legend(frameon=False, fontsize=8)

    model, tokenizer = _translator()
    encoder = model.get_encoder()
    ids = tokenizer("The cat did not hear the black bird.", return_tensors="pt")["input_ids"]
    places = np.arange(ids.shape[1])
    added = encoder.position(
        torch.zeros(1, ids.shape[1], model.config.d_model), torch.tensor(places)[None], len(places)
    )
    bars = {"embedding, not scaled": (encoder.embed_tokens(ids), GREY)}
    bars["embedding × √d_model"] = (encoder.embed(ids, None), BLUE)
    bars["position vector"] = (added[0], VERMILION)
    for number, (vectors, colour) in enumerate(bars.values()):
        by_token.bar(places + 0.28 * (number - 1), vectors[0].norm(dim=-1), 0.27, color=colour)
    by_token.set_xticks(places, _tokens(tokenizer, ids), rotation=60, fontsize=8)
    by_token.set(ylabel="norm", title="In a trained translator, d_model 128")


def draw_attention(figure: Any) -> None:
    """The weights of each head in the first encoder layer of the translator."""
    figure.set_size_inches(9, 3.1)
    model, tokenizer = _translator()
    inputs = tokenizer("The cat did not hear the black bird.", return_tensors="pt")
    weights = model.get_encoder()(**inputs, output_attentions=True).attentions[0][0]
    labels = _tokens(tokenizer, inputs["input_ids"])
    for head, panel in enumerate(figure.subplots(1, len(weights), sharey=True)):
        shown = panel.imshow(weights[head], vmin=0, vmax=1, cmap="Blues")
        panel.set_title(f"head {head + 1}", fontsize=10)
        panel.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
        panel.set_yticks(range(len(labels)), labels, fontsize=8)
    figure.colorbar(shown, ax=figure.axes, shrink=0.7, pad=0.01)


def draw_positions(figure: Any) -> None:
    """The cosines between the outputs of all pairs of tokens, without and with positions."""
    figure.set_size_inches(7.5, 3.3)
    words = ["your", "cat", "is", "a", "lovely", "cat"]
    ids = torch.tensor([[6, 7, 8, 9, 10, 7]])  # the ids in the example of the page
    for encoding, panel in zip(("none", "sinusoidal"), figure.subplots(1, 2, sharey=True), strict=True):
        torch.manual_seed(0)
        config = LocantConfig.from_preset("tiny", vocab_size=11, position_encoding=encoding)
        output = LocantEncoderModel(config).eval()(input_ids=ids).last_hidden_state[0]
        shown = panel.imshow(_cosines(output), vmin=-0.2, vmax=1, cmap="Blues")
        _write_values(panel, _cosines(output))
        panel.set_title(f"position_encoding = {encoding}", fontsize=10)
        panel.set_xticks(range(6), words, rotation=45)
        panel.set_yticks(range(6), words)
    figure.colorbar(shown, ax=figure.axes, shrink=0.8, label="cosine")


def draw_sinusoids(figure: Any) -> None:
    """The table, and the products of position vectors over their distance."""
    figure.set_size_inches(9, 3.2)
    left, right = figure.subplots(1, 2)
    shown = left.imshow(
        sinusoidal_table(100, 128), cmap="PuOr", vmin=-1, vmax=1, aspect="auto", interpolation="nearest"
    )
    left.set(xlabel="dimension", ylabel="position", title="Sinusoids, width 128")
    figure.colorbar(shown, ax=left)
    table = sinusoidal_table(201, 512)
    for start, style in ((100, "-"), (80, "--")):
        distances = np.arange(-start, 201 - start)
        right.plot(distances, table @ table[start], style, label=f"with position {start}")
    right.set(xlabel="distance", ylabel="product", title="Products of position vectors, width 512", xlim=(-80, 80))
    right.legend(frameon=False, fontsize=8)


def draw_recent_encodings(figure: Any) -> None:
    """Draw the product, factor, bias or bucket that four encodings give two tokens, over the distance of the tokens."""
    figure.set_size_inches(8.5, 4.6)
    (sinusoidal, rotary), (alibi, t5) = figure.subplots(2, 2)
    distances = torch.arange(-100, 101)
    table = sinusoidal_table(201, 512)
    sinusoidal.plot(distances, table @ table[100], color=BLUE)
    sinusoidal.set(title="sinusoidal: product of position vectors", ylabel="product")
    angles = distances[:, None] * 10000.0 ** (-torch.arange(0, 64, 2) / 64)
    rotated = rotate(torch.ones(1, 1, 201, 64), *(factor[None, None] for factor in cos_sin_of_entries(angles)))
    rotary.plot(distances, rotated[0, 0].sum(-1) / 64, color=BLUE)
    rotary.set(title="rotary: score relative to distance 0", ylabel="factor")
    for slope in alibi_slopes(8):
        alibi.plot(distances, -slope * distances.abs(), color=BLUE, linewidth=1)
    alibi.set(title="alibi: bias of each of 8 heads", xlabel="distance, key − query", ylabel="bias")
    t5.step(distances, t5_bucket(distances, is_causal=False, num_buckets=32, max_distance=128), where="mid", color=BLUE)
    t5.set(title="t5: bucket of the distance", xlabel="distance, key − query", ylabel="bucket")


def draw_encoder_decoder(figure: Any) -> None:
    """Draw the attention weights of an untrained head under four masks."""
    figure.set_size_inches(9, 2.7)
    padding = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    band = (torch.arange(7) - torch.arange(7)[:, None]).abs() <= 2
    config = LocantConfig.from_preset("tiny", vocab_size=11, attn_implementation="eager")
    cases = {
        "encoder, padding": (LocantEncoderModel, padding),
        "decoder, causal": (LocantDecoderModel, None),
        "decoder, both": (LocantDecoderModel, padding),
        "encoder, custom": (LocantEncoderModel, band[None, None]),
    }
    for (title, (kind, mask)), panel in zip(cases.items(), figure.subplots(1, 4), strict=True):
        torch.manual_seed(0)
        is_padded = mask is padding
        ids = torch.tensor([[4, 5, 6, 7, 8, 0, 0] if is_padded else [4, 5, 6, 7, 8, 9, 10]])
        weights = kind(config).eval()(input_ids=ids, attention_mask=mask, output_attentions=True).attentions[0][0, 0]
        panel.imshow(torch.where(weights > 0, 0.25 + weights, 0), vmin=0, vmax=1.25, cmap="Blues")
        panel.set_title(title, fontsize=10)
        names = [*"abcde", "pad", "pad"] if is_padded else [*"abcdefg"]
        panel.set_xticks(range(7), names, fontsize=8)
        panel.set_yticks(range(7), names, fontsize=8)


def draw_normalisation(figure: Any) -> None:
    """Draw the axes over which layer norm and batch norm average, and the norms of hidden states after each layer."""
    figure.set_size_inches(9, 3.1)
    layer, batch, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.6))
    for panel, title in ((layer, "layer norm: one token"), (batch, "batch norm: one feature")):
        cells = np.zeros((8, 10))
        cells[(2, slice(None)) if panel is layer else (slice(None), 3)] = 1
        panel.pcolormesh(cells, cmap="Blues", vmin=0, vmax=1.6, edgecolor="lightgrey", linewidth=0.5)
        panel.invert_yaxis()
        panel.set(xticks=[], yticks=[], xlabel="features", ylabel="tokens of the batch")
        panel.set_title(title, fontsize=10)
    for norm_position, colour in (("post", BLUE), ("pre", VERMILION)):
        torch.manual_seed(0)
        config = LocantConfig(vocab_size=1000, encoder_layers=12, norm_position=norm_position)
        encoder = LocantEncoderModel(config).eval().encoder
        states = _layer_outputs(encoder, input_ids=torch.randint(3, 1000, (4, 20)))
        norms = [state.norm(dim=-1).mean().item() for state in states]
        right.plot(range(1, 13), norms, "o-", color=colour, label=f'norm_position="{norm_position}"')
    right.set(
        xlabel="after layer", ylabel="mean norm", title="Hidden states before training, width 512", ylim=(0, None)
    )
    right.title.set_fontsize(10)
    right.legend(frameon=False, fontsize=8)


def draw_contextual(figure: Any) -> None:
    """The cosines between the vectors of the word "her" in six sentences, after each encoder layer."""
    figure.set_size_inches(9, 2.8)
    model, tokenizer = _translator()
    encoder = model.get_encoder()
    sentences = ["He sees her uncle.", "We found her brother.", "You watch her sister."]
    sentences += ["He sees her.", "We found her.", "You watch her."]
    vectors = []
    for sentence in sentences:
        inputs = tokenizer(sentence, return_tensors="pt")
        place = _tokens(tokenizer, inputs["input_ids"]).index("her")
        row = encoder.embed_tokens(inputs["input_ids"])[0, place]
        vectors.append(torch.stack([row, *(state[0, place] for state in _layer_outputs(encoder, **inputs))]))
    panels = figure.subplots(1, len(vectors[0]), sharey=True)
    for number, panel in enumerate(panels):
        cosines = _cosines(torch.stack([entry[number] for entry in vectors]))
        shown = panel.imshow(cosines, vmin=0, vmax=1, cmap="Blues")
        _write_values(panel, cosines)
        panel.set_title("embedding" if number == 0 else f"layer {number}", fontsize=10)
        panel.set_xticks([])
        panel.set_yticks(range(len(sentences)), sentences, fontsize=8)
    figure.colorbar(shown, ax=figure.axes, shrink=0.7, pad=0.01, label="cosine")


def draw_recurrent(figure: Any) -> None:
    """The gradient of the last output with respect to each input, relative to that with respect to the last input."""
    figure.set_size_inches(7, 3.4)
    torch.manual_seed(0)
    length, width = 64, 64
    lstm = nn.LSTM(width, width, batch_first=True)
    convolutions = nn.Sequential(*(nn.Conv1d(width, width, kernel_size=3, padding=1) for _ in range(4)))
    config = LocantConfig(
        d_model=width, encoder_layers=1, encoder_attention_heads=4, encoder_ffn_dim=128, vocab_size=10,
        norm_position="pre",
    )  # fmt: skip
    encoder = LocantEncoderModel(config).eval()
    networks: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "LSTM": lambda inputs: lstm(inputs)[0],
        "4 convolutions of width 3": lambda inputs: convolutions(inputs.transpose(1, 2)).transpose(1, 2),
        "1 Transformer layer": lambda inputs: encoder(inputs_embeds=inputs).last_hidden_state,
    }
    panel = figure.subplots()
    for (name, network), colour in zip(networks.items(), (VERMILION, GREEN, BLUE), strict=True):
        norms = []
        for _ in range(5):
            inputs = torch.randn(1, length, width, requires_grad=True)
            output = (network(inputs)[0, -1] * torch.randn(width)).sum()
            norms.append(torch.autograd.grad(output, inputs)[0][0].norm(dim=-1))
        mean = torch.stack(norms).mean(0).flip(0)
        panel.plot(mean / mean[0], color=colour, label=name, marker="o", markersize=2.5)
    panel.set_yscale("log")
    panel.set(xlabel="distance between output and input, in tokens", ylabel="gradient, relative to distance 0")
    panel.set_ylim(1e-12, 3)
    panel.legend(frameon=False, fontsize=8)


def draw_long_inputs(figure: Any) -> None:
    """The keys that a query sees with full attention and with a window, and the number of pairs by length."""
    figure.set_size_inches(9, 3.1)
    full, window, pairs = figure.subplots(1, 3, width_ratios=(1, 1, 1.6))
    for panel, size, title in ((full, None, "full attention"), (window, 8, "window of 8 to either side")):
        panel.imshow(_seen(64, size), cmap="Blues", vmin=0, vmax=1.6)
        panel.set(xlabel="key", ylabel="query")
        panel.set_title(title, fontsize=10)
    lengths = [64, 128, 256, 512, 1024, 2048]
    for size, colour, name in ((None, VERMILION, "full"), (64, BLUE, "window of 64 to either side")):
        pairs.plot(lengths, [_seen(length, size).sum() for length in lengths], "o-", color=colour, label=name)
    pairs.set(xlabel="tokens", ylabel="pairs of query and key", xscale="log", yscale="log")
    pairs.set_xticks(lengths, [str(length) for length in lengths])
    pairs.minorticks_off()
    pairs.legend(frameon=False, fontsize=8)


def draw_images(figure: Any) -> None:
    """A digit, its patches in the order of the sequence, and the positions of a grid."""
    figure.set_size_inches(9, 2.9)
    whole, sequence, grid = figure.subplots(1, 3, width_ratios=(1, 1.7, 1.2))
    digit = torch.tensor(load_digits().images[3] / 16, dtype=torch.float32)
    image = nn.functional.interpolate(digit[None, None], size=(28, 28), mode="bilinear")[0, 0]
    whole.imshow(image, cmap="gray")
    for line in (7, 14, 21):
        whole.axhline(line - 0.5, color=VERMILION, linewidth=1)
        whole.axvline(line - 0.5, color=VERMILION, linewidth=1)
    whole.set(xticks=[], yticks=[])
    whole.set_title("28 × 28 pixels", fontsize=10)
    patches = image.unflatten(0, (4, 7)).unflatten(2, (4, 7)).transpose(1, 2).flatten(0, 1)  # (16, 7, 7)
    framed = nn.functional.pad(patches, (1, 1, 1, 1), value=0.5)
    # two rows of eight patches each, so that they can be seen
    sequence.imshow(torch.cat([torch.cat(list(framed[:8]), 1), torch.cat(list(framed[8:]), 1)]), cmap="gray")
    for number in range(16):
        x, y = number % 8 * 9 + 4, number // 8 * 9
        sequence.text(x, y - 0.8 if number < 8 else y + 9.8, str(number + 1), ha="center", va="center", fontsize=7)
    sequence.set_ylim(21, -3)
    sequence.axis("off")
    sequence.set_title("16 patches of 7 × 7, in order", fontsize=10)

    side = 14
    config = LocantConfig.from_preset(
        "tiny", vocab_size=5, encoder_input="patches", image_size=side * 2, patch_size=2, num_channels=1
    )
    axis = torch.arange(side, dtype=torch.float64)
    positions = torch.cartesian_prod(axis, axis)[None]
    vectors, _ = SinusoidalGridEncoding(config)(torch.zeros(1, side * side, config.d_model), positions, (side, side))
    row, column = 5, 4
    shown = grid.imshow(_cosines(vectors[0])[row * side + column].view(side, side), cmap="Blues")
    grid.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILION, linewidth=2))
    grid.set(xlabel="column", ylabel="row")
    grid.set_title("cosine of positions", fontsize=10)
    figure.colorbar(shown, ax=grid, shrink=0.8)


def draw_training(figure: Any) -> None:
    """The losses and BLEU of a run on all pairs and of a run on 600 pairs."""
    figure.set_size_inches(9, 3.3)
    titles = {TRANSLATOR: "12,000 pairs", FEW_PAIRS: "600 pairs"}
    for (run, title), panel in zip(titles.items(), figure.subplots(1, 2), strict=True):
        with (run / "loss_curve.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        epochs = [float(row["epoch"]) for row in rows]
        losses = {"training loss": ("train_loss", BLUE), "validation loss": ("validation_loss", VERMILION)}
        lines = [
            panel.plot(epochs, [float(row[key]) for row in rows], color=colour, label=name)[0]
            for name, (key, colour) in losses.items()
        ]
        other = panel.twinx()
        bleu = [float(row["validation_bleu"]) for row in rows]
        lines += other.plot(epochs, bleu, color=GREEN, linestyle="--", label="validation BLEU (right axis)")
        other.set_ylim(0, 100)
        panel.set_ylim(0, None)
        panel.set(xlabel="epoch", ylabel="loss")
        panel.set_title(title, fontsize=10)
        panel.legend(handles=lines, frameon=False, fontsize=8, loc="center right")


def draw_mistakes(figure: Any) -> None:
    """The share of rows whose largest weight is on the diagonal, in each head of the translator's encoder."""
    figure.set_size_inches(7, 2.6)
    model, tokenizer = _translator()
    on_diagonal, rows = 0, 0
    for sentence in TEST_SENTENCES.read_text(encoding="utf-8").splitlines():
        inputs = tokenizer(sentence, return_tensors="pt")
        weights = torch.cat(model.get_encoder()(**inputs, output_attentions=True).attentions, dim=1)[0]
        length = weights.shape[-1]  # weights: (layers · heads, queries, keys)
        on_diagonal += (weights.argmax(-1) == torch.arange(length)).sum(-1)
        rows += length
    shares = (100 * on_diagonal / rows).tolist()
    heads = model.config.encoder_attention_heads
    names = [f"layer {number // heads + 1}\nhead {number % heads + 1}" for number in range(len(shares))]
    panel = figure.subplots()
    bars = panel.bar(names, shares, color=BLUE)
    panel.bar_label(bars, fmt="%.0f %%", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.set(ylabel="rows, in %", ylim=(0, 110))


def _translator() -> tuple[Any, Any]:
    model = AutoModelForSeq2SeqLM.from_pretrained(TRANSLATOR, attn_implementation="eager").eval()
    return model, AutoTokenizer.from_pretrained(TRANSLATOR)


def _tokens(tokenizer: Any, ids: torch.Tensor) -> list[str]:
    return [token.lstrip("Ġ▁") for token in tokenizer.convert_ids_to_tokens(ids[0])]


def _layer_outputs(encoder: Any, **inputs: torch.Tensor) -> list[torch.Tensor]:
    """The output of each layer; `hidden_states` of the encoder's output would have the final norm in the last one."""
    outputs: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: torch.Tensor) -> None:
        outputs.append(output)

    hooks = [layer.register_forward_hook(keep) for layer in encoder.layers]
    encoder(**inputs)
    for hook in hooks:
        hook.remove()
    return outputs


def _cosines(vectors: torch.Tensor) -> torch.Tensor:
    unit = nn.functional.normalize(vectors, dim=-1)
    return unit @ unit.T


def _write_values(panel: Any, values: torch.Tensor) -> None:
    for (row, column), value in np.ndenumerate(values.numpy()):
        colour = "white" if value > 0.6 else "black"
        panel.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)


def _seen(length: int, window: int | None) -> torch.Tensor:
    """Which keys each query of an encoder sees, `(length, length)`, as the mask of the eager backend says."""
    config = LocantConfig(attn_implementation="eager")
    states = torch.zeros(1, length, config.d_model)
    mask = build_mask(config, states, SlotIndex(length, length), kind="encoder", window=window)
    return torch.ones(length, length) if mask is None else (mask[0, 0] == 0).float()


PICTURES = {name.removeprefix("draw_"): value for name, value in list(globals().items()) if name.startswith("draw_")}


@torch.no_grad()
def main() -> None:
    """Draw the pictures that the command line names, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(PICTURES)} (default: all)")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in parser.parse_args().names or PICTURES:
        figure = Figure(layout="constrained")
        with torch.set_grad_enabled(name == "recurrent"):
            PICTURES[name](figure)
        path = FOLDER / f"{name}.png"
        figure.savefig(path, dpi=110, bbox_inches="tight")
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
