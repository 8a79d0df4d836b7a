# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Weights on disk: what every format gives, and that nothing is read before it is asked for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from locant.checkpoints.checkpoint_files import Checkpoint, CheckpointError, is_finite

from .. import memory

WEIGHTS = {
    "a.weight": torch.arange(6.0).view(2, 3),
    "a.bias": torch.tensor([1.0, -2.0], dtype=torch.float16),
    "b.weight": torch.full((4,), 0.5, dtype=torch.bfloat16),
    "steps": torch.tensor([3]),
}


def shard(folder, suffix, save):
    for number, names in enumerate((("a.weight", "steps"), ("a.bias", "b.weight"))):
        save({name: WEIGHTS[name] for name in names}, folder / f"shard-{number}.{suffix}")
    files = {name: f"shard-{int(name in ('a.bias', 'b.weight'))}.{suffix}" for name in WEIGHTS}
    main = "model.safetensors" if suffix == "safetensors" else "pytorch_model.bin"
    (folder / f"{main}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


FORMATS = {
    "safetensors": lambda folder: save_file(WEIGHTS, folder / "model.safetensors"),
    "safetensors in shards": lambda folder: shard(folder, "safetensors", save_file),
    "bin": lambda folder: torch.save(WEIGHTS, folder / "pytorch_model.bin"),
    "bin in shards": lambda folder: shard(folder, "bin", torch.save),
    "bin of before torch 1.6": lambda folder: torch.save(
        WEIGHTS, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False
    ),
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_names_shapes_types_and_numbers(tmp_path, write):
    write(tmp_path)
    checkpoint = Checkpoint.open(tmp_path)
    assert set(checkpoint.headers) == set(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        assert (checkpoint.headers[name].shape, checkpoint.headers[name].dtype) == (tensor.shape, tensor.dtype)
        if tensor.is_floating_point():
            assert torch.equal(checkpoint.read(name), tensor)


def test_safetensors_come_first_and_one_file_before_shards(tmp_path):
    FORMATS["safetensors in shards"](tmp_path)
    FORMATS["bin"](tmp_path)
    assert Checkpoint.open(tmp_path).file.name == "model.safetensors.index.json"
    FORMATS["safetensors"](tmp_path)
    assert Checkpoint.open(tmp_path).file.name == "model.safetensors"


@pytest.mark.parametrize(
    "tensor",
    [torch.arange(12.0).view(3, 4).T, torch.arange(12.0)[3:9:2], torch.nn.Parameter(torch.ones(2))],
    ids=["transposed", "slice", "parameter"],
)
def test_views_and_parameters_in_a_bin_file_are_weights(tmp_path, tensor):
    torch.save({"view": tensor, "base": tensor}, tmp_path / "pytorch_model.bin")
    checkpoint = Checkpoint.open(tmp_path)
    assert torch.equal(checkpoint.read("view"), tensor.detach())
    assert torch.equal(checkpoint.read("base"), tensor.detach())
    assert not checkpoint.read("base").requires_grad


def test_a_tensor_that_is_not_there_is_named(tmp_path):
    FORMATS["safetensors"](tmp_path)
    with pytest.raises(CheckpointError, match=r"model.safetensors holds no tensor 'c\.weight'"):
        Checkpoint.open(tmp_path).read("c.weight")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_nan_is_found_wherever_it_is(dtype):
    tensor = torch.linspace(-1, 1, 1000).to(dtype)
    assert is_finite(tensor)
    assert is_finite(tensor[:0])
    for place in (0, 500, 999):
        broken = tensor.clone()
        broken[place] = float("nan")
        assert not is_finite(broken)


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_infinity_is_found_and_the_largest_numbers_are_not(value):
    largest = torch.full((100,), torch.finfo(torch.float16).max, dtype=torch.float16)
    assert is_finite(largest)
    largest[7] = value
    assert not is_finite(largest)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_opening_reads_no_weights_and_reading_takes_one_tensor(tmp_path, name):
    big = {f"layer.{number}": torch.ones(4_000_000) for number in range(8)}  # 128 MB
    (save_file if name.endswith("safetensors") else torch.save)(big, tmp_path / name)
    script = f"""
import torch
from locant.checkpoints.checkpoint_files import Checkpoint
checkpoints = []
print(megabytes_taken(lambda: checkpoints.append(Checkpoint.open({str(tmp_path)!r}))))
print(megabytes_taken(lambda: checkpoints[0].read("layer.3")))
"""
    script = Path(memory.__file__).read_text("utf-8") + script
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    opened, read = map(float, done.stdout.split())
    assert opened < 12
    assert 15 < read < 40
