# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Conversion of a model to Locant and back: the checks of what must be equal on both sides, for any family."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn

import locant
from locant.checkpoints.checkpoint_files import Checkpoint
from locant.hub.conversion.conversion import convert

SENTENCES = [[5, 6, 7, 8, 9, 10, 2], [11, 12, 13, 2], [14, 15, 16, 17, 2]]
TARGETS = [[0, 21, 20, 19], [0, 17], [0, 15, 14, 13, 12]]
GENERATION = {"max_new_tokens": 8, "no_repeat_ngram_size": 2}  # random models are fond of one token


@dataclass(frozen=True)
class Case:
    """A random model of transformers, and how it is saved.

    Args:
        name: of the case.
        model_class: of transformers.
        config: its config.
        inputs: what it reads, `seq2seq`, `text` or `images`.
        is_exact: whether its weights come back bit for bit; if not, to a rounding; None where they come back otherwise
            distributed, with the same results.
        prepare: changes to its weights.
        save: how it is written.
        drop: what is left behind, and so does not come back.
        build: makes the model of its class and config.
    """

    name: str
    model_class: type
    config: Any
    inputs: str = "text"
    is_exact: bool | None = True
    prepare: Callable[[Any], None] = lambda model: None
    save: Callable[[Any, Any], None] = lambda model, folder: model.save_pretrained(folder)
    drop: tuple[str, ...] = ()
    build: Callable[[Any, Any], Any] = field(default=lambda cls, config: cls(config))

    def model(self) -> Any:
        """The model, in evaluation mode, with random numbers in every weight."""
        torch.manual_seed(0)
        model = self.build(self.model_class, self.config).eval()
        spread(model)
        with torch.no_grad():
            self.prepare(model)
        return model


def parametrized(cases):
    """A decorator that runs a test for each of the cases."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in cases])


@torch.no_grad()
def spread(model: nn.Module) -> None:
    """Random numbers in every trained weight, of a size that lets results differ by input."""
    generator = torch.Generator().manual_seed(1)

    def noise(tensor):
        return torch.randn(tensor.shape, generator=generator)

    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim == 1:
            parameter.copy_(0.2 * noise(parameter) + name.endswith("weight"))  # a norm's weight, or any bias
        elif parameter.ndim == 2:
            gain = 1.0 if "embed" in name or "shared" in name else 1.5
            parameter.copy_(gain * parameter.shape[-1] ** -0.5 * noise(parameter))
        else:
            parameter.copy_(parameter[0].numel() ** -0.5 * noise(parameter))
    for name, buffer in model.named_buffers():
        if name == "final_logits_bias":
            buffer.copy_(0.3 * noise(buffer))


def batch(sequences: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, padded on the right, and their mask."""
    longest = max(map(len, sequences))
    ids = torch.tensor([sequence + [0] * (longest - len(sequence)) for sequence in sequences])
    mask = torch.tensor([[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences])
    return ids, mask


def inputs_of(model: Any, kind: str) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """A batch, and which of its outputs' tokens are real."""
    if kind == "images":
        size = model.config.image_size
        sides = (size, size) if isinstance(size, int) else tuple(size)
        generator = torch.Generator().manual_seed(2)
        return {"pixel_values": torch.randn(2, model.config.num_channels, *sides, generator=generator)}, None
    ids, mask = batch(SENTENCES)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if kind == "seq2seq":
        decoder_ids, mask = batch(TARGETS)
        inputs |= {"decoder_input_ids": decoder_ids, "decoder_attention_mask": mask}
    return inputs, mask.bool()


@torch.no_grad()
def outputs_of(model: Any, kind: str) -> dict[str, torch.Tensor]:
    """What a model says of a padded batch: logits or hidden states of real tokens, a pooled vector."""
    inputs, real = inputs_of(model, kind)
    names = ("logits", "start_logits", "end_logits", "last_hidden_state", "pooler_output", "encoder_last_hidden_state")
    found = {name: value for name, value in model(**inputs).items() if name in names and value is not None}
    found.pop("encoder_last_hidden_state", None)
    if real is None:
        return found
    return {name: value[real] if value.shape[:2] == real.shape else value for name, value in found.items()}


def generated(model: Any, kind: str, **options: Any) -> list[list[int]]:
    """Generated ids of the batch, or of each sentence alone where padding on the right would be in the way."""
    inputs, _ = inputs_of(model, kind)
    inputs = {name: value for name, value in inputs.items() if not name.startswith("decoder")}
    if kind == "seq2seq":
        return model.generate(**inputs, **GENERATION, **options).tolist()
    return [model.generate(torch.tensor([ids[:-1]]), **GENERATION, **options)[0].tolist() for ids in SENTENCES]


def load(folder: Any) -> Any:
    """The model of a folder, of the class that its config names, where every weight has its place."""
    [name] = json.loads((folder / "config.json").read_text())["architectures"]
    cls = getattr(locant if name.startswith("Locant") else transformers, name)
    model, info = cls.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"], info["missing_keys"]
    assert not info["unexpected_keys"] and not info["mismatched_keys"], info
    return model.eval()


def assert_same(ours: Any, theirs: Any, kind: str, atol: float = 1e-5, generates: bool = True) -> None:
    """Outputs are the same, computed in float32, and so is what beam search finds, if `generates`."""
    ours, theirs = (copy.deepcopy(model).float() for model in (ours, theirs))
    found, expected = outputs_of(ours, kind), outputs_of(theirs, kind)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=atol, rtol=atol)
        assert value.float().std() > 0.05, name
        rows = value.flatten(0, -2) if value.ndim > 1 else value
        assert not torch.allclose(rows[0], rows[-1], atol=1e-2), f"{name} does not depend on the input"
    if generates and theirs.can_generate():
        options = {"num_beams": 3, "do_sample": False}
        expected_ids = generated(theirs, kind, **options)
        assert generated(ours, kind, **options) == expected_ids
        assert len({tuple(ids) for ids in expected_ids}) > 1


def assert_there_and_back(case: Case, tmp_path: Any) -> None:
    """`case` converts to Locant with equal results, back, and equals again."""
    theirs = case.model()
    case.save(theirs, tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "ours", drop=case.drop)
    ours = load(tmp_path / "ours")
    assert ours.config.model_type == "locant"
    assert ours.dtype == theirs.dtype
    assert_same(ours, theirs, case.inputs)

    convert(tmp_path / "ours", tmp_path / "back", to=theirs.config.model_type)
    back = load(tmp_path / "back")
    assert back.dtype == theirs.dtype
    assert_same(back, theirs, case.inputs, generates=False)
    if type(back) is type(theirs) and case.is_exact is not None:
        assert_same_weights(theirs, back, case.is_exact)


def assert_same_weights(theirs: Any, back: Any, is_exact: bool) -> None:
    """All weights, by name: bit for bit, or to a rounding."""
    expected, found = theirs.state_dict(), back.state_dict()
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        if is_exact:
            assert torch.equal(found[name], weight), name
        else:
            torch.testing.assert_close(found[name], weight, atol=0, rtol=3e-7, msg=lambda text, n=name: f"{n}: {text}")


# Ways to save


def sharded(model: Any, folder: Any) -> None:
    """As several safetensors files."""
    model.save_pretrained(folder, max_shard_size="8KB")
    assert len(list(folder.glob("*.safetensors"))) > 2


def pickled(model: Any, folder: Any) -> None:
    """As `pytorch_model.bin`, with each tied weight under all of its names, as of old."""
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def pickled_shards(model: Any, folder: Any) -> None:
    """As two `.bin` files with an index."""
    pickled(model, folder)
    (folder / "pytorch_model.bin").unlink()
    weights = list(model.state_dict().items())
    parts = {f"pytorch_model-0000{part + 1}-of-00002.bin": dict(weights[part::2]) for part in range(2)}
    for file, part in parts.items():
        torch.save(part, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def stored(folder: Any) -> dict[str, torch.Tensor]:
    """The weights in a folder, by the names in its files."""
    if (folder / "model.safetensors").exists():
        return load_file(folder / "model.safetensors")
    checkpoint = Checkpoint.open(folder)
    return {name: checkpoint.read(name) for name in checkpoint.headers}
