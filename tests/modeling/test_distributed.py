# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Two gloo processes follow one process: data parallelism, FSDP2, and tensor parallelism."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn
from transformers import AutoModelForSeq2SeqLM
from transformers.distributed import DistributedConfig
from transformers.distributed.tensor_parallel import ALL_PARALLEL_STYLES

from locant import LocantConfig, LocantForConditionalGeneration
from tests.modeling.conftest import ENCODINGS

pytestmark = pytest.mark.end_to_end

# Vectors that all heads share; weights of heads and a bias; slopes of heads
HARDEST = ("shaw", "transformer_xl", "alibi")
HAS_TENSOR_PARALLELISM = "local_params" in ALL_PARALLEL_STYLES
needs_tensor_parallelism = pytest.mark.skipif(
    not HAS_TENSOR_PARALLELISM,
    reason="transformers 5.20 cannot divide t5 and transformer_xl, nor a vocabulary of an odd number of tokens",
)


def run_two(folder: Path, steps: int, *works: str) -> dict[str, dict]:
    """Run two processes of two_processes.py, and return the results of each work."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    shared["MASTER_PORT"] = str(port)
    command = [sys.executable, str(Path(__file__).with_name("two_processes.py")), str(folder)]
    processes = [
        subprocess.Popen(
            [*command, str(steps), *works],
            env={**shared, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    errors = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    assert "match nothing" not in errors[0]  # transformers' warning about rules of a plan
    return {work: json.loads((folder / f"{work}.json").read_text()) for work in works}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    works = ("ddp", "fsdp", *(f"tp:{encoding}" for encoding in HARDEST if HAS_TENSOR_PARALLELISM))
    return run_two(tmp_path_factory.mktemp("two"), 4, *works)


def check_follows(result) -> None:
    assert result["two"] == pytest.approx(result["one"], abs=1e-5)
    assert result["one"][-1] < result["one"][0]


def test_data_parallel_processes_with_other_lengths_follow_one_process(results):
    check_follows(results["ddp"])


class TestShardedWeights:
    def test_they_follow_one_process_through_a_checkpoint(self, results):
        check_follows(results["fsdp"])
        assert results["fsdp"]["difference"] < 1e-4

    def test_one_process_takes_their_checkpoint_up(self, results):
        result = results["fsdp"]
        assert result["resumed_by_one"] == pytest.approx(result["one"][len(result["one"]) // 2 :], abs=1e-5)

    def test_they_generate_and_are_saved_like_whole_ones(self, results):
        whole, sharded = results["fsdp"]["tokens"]
        assert sharded == whole
        names, model_class = results["fsdp"]["names"]
        assert model_class == "LocantForConditionalGeneration"
        assert "lm_head.weight" not in names


def check_tensor_parallel(result) -> None:
    check_follows(result)
    assert result["difference"] < 1e-4
    assert result["masked"] < 1e-5
    whole, divided = result["tokens"]
    assert divided == whole


@needs_tensor_parallelism
@pytest.mark.parametrize("encoding", HARDEST)
def test_processes_that_share_the_heads_follow_one_process(results, encoding):
    check_tensor_parallel(results[f"tp:{encoding}"])


def test_data_parallel_processes_broadcast_no_computed_buffers_of_a_model_with_an_adapter_either():
    """In a model of PEFT, the names have a prefix."""
    config = LocantConfig(vocab_size=24, d_model=16, num_hidden_layers=1, num_attention_heads=4)
    model, adapted = LocantForConditionalGeneration(config), nn.Module()
    adapted.base_model = nn.Module()
    adapted.base_model.model = model
    own, prefixed = ({name for name, _ in module.named_buffers()} for module in (model, adapted))
    assert own
    assert set(model._ddp_params_and_buffers_to_ignore) == own | prefixed


@pytest.mark.parametrize(("tp_size", "fsdp_size", "told"), [(3, 1, "has 4 heads and 2"), (2, 2, "both above 1")])
def test_what_cannot_be_divided_is_refused(tp_size, fsdp_size, told):
    config = LocantConfig(vocab_size=24, d_model=16, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2)
    model = LocantForConditionalGeneration(config)
    with pytest.raises(ValueError, match=told):
        model.maybe_distribute_model(model, DistributedConfig(tp_size=tp_size, fsdp_size=fsdp_size), None)


@pytest.mark.slow
def test_data_parallel_and_sharded_processes_follow_one_process_over_50_steps(tmp_path):
    for result in run_two(tmp_path, 50, "ddp", "fsdp").values():
        check_follows(result)


@pytest.mark.slow
@needs_tensor_parallelism
def test_every_encoding_follows_one_process_when_heads_are_shared(tmp_path):
    for work, result in run_two(tmp_path, 50, *(f"tp:{encoding}" for encoding in ENCODINGS)).items():
        check_tensor_parallel(result)
        end = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / work.removeprefix("tp:") / "end")
        assert type(end).__name__ == "LocantForConditionalGeneration"
