# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`DistributedDataParallel` over two processes."""

import os
import subprocess
import sys

# Each process checks that the gradients are the means of those of the two batches, whose lengths differ
PROCESS = """
import datetime, sys, torch
from torch.nn.parallel import DistributedDataParallel
from locant import LocantConfig, LocantForConditionalGeneration

folder, rank = sys.argv[1], int(sys.argv[2])
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=30)
)
sizes = {"vocab_size": 24, "d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_attention_heads": 2}
config = LocantConfig(
    **sizes, num_hidden_layers=1, dropout=0.0, position_encoding="sinusoidal", max_position_embeddings=8
)
torch.manual_seed(0)
single = LocantForConditionalGeneration(config)
model = LocantForConditionalGeneration(config)
model.load_state_dict(single.state_dict())
model = DistributedDataParallel(model)

def loss(model, length):
    ids = torch.arange(length)[None] % 20 + 4
    return model(input_ids=ids, labels=ids).loss

for lengths in ((20, 5), (5, 6), (3, 40)):
    single.zero_grad()
    model.zero_grad()
    for length in lengths:
        (loss(single, length) / 2).backward()
    loss(model, lengths[rank]).backward()
    for (name, one), other in zip(single.named_parameters(), model.module.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name)
"""


def test_lengths_may_differ_between_processes(tmp_path):
    """The table of sinusoids is longer in the process that has seen the longer sequence."""
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen([*command, rank], stderr=subprocess.PIPE, text=True, env=environment) for rank in "01"]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
