# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""One of two processes that train together: `python two_processes.py FOLDER STEPS WORK…`; run by test_distributed.py.

Each WORK is the name of a function of this file, with an encoding after a colon for tensor parallelism. For each WORK,
the main process writes FOLDER/WORK.json with the losses of one process, and of two processes on the same batches.
"""

import datetime
import json
import os
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers.distributed import DistributedConfig

from locant import LocantConfig, LocantForConditionalGeneration
from locant.training.run.sharding import load_optimizer_state, load_weights, optimizer_state, read_weights, shard_model

RANK, STEPS = int(os.environ["RANK"]), int(sys.argv[2])
SIZES = {"vocab_size": 39, "d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 24, "num_attention_heads": 4}
DISTANCES = ("shaw", "transformer_xl", "t5", "alibi", "rotary")
# steep slopes, and large tables and vectors: the scores of a new model hardly depend on the position otherwise
STEEP = {"alibi": {"max_bias": 1.0}}


def new_model(encoding: str) -> LocantForConditionalGeneration:
    torch.manual_seed(0)
    config = LocantConfig(
        **SIZES,
        num_hidden_layers=1,
        dropout=0.0,
        position_encoding=encoding,
        cross_position_encoding=encoding if encoding in DISTANCES else "none",
        position_parameters=STEEP if encoding in STEEP else {},
        max_position_embeddings=6 if encoding == "sinusoidal" else 32,  # sinusoids grow with the longest sequence seen
    )
    model = LocantForConditionalGeneration(config).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "position" in name and "proj" not in name:
                parameter.normal_()
    return model


def batches() -> list[dict[str, torch.Tensor]]:
    """Batches of unequal lengths with padding, more of it in odd rows; the last one has an odd number of rows."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for step in range(STEPS):
        rows = 3 if step == STEPS - 1 else 4
        source = torch.randint(4, 39, (rows, 5 + step % 7), generator=generator)
        target = torch.arange(5, 9).repeat(rows, 1)
        mask = torch.ones_like(source)
        mask[0, 3:] = 0
        mask[1::2, -2:] = 0
        target[1, 2:] = -100
        made.append({"input_ids": source, "attention_mask": mask, "labels": target})
    return made


def new_optimizer(model) -> torch.optim.Optimizer:
    """AdamW with an epsilon above rounding errors, which are the whole gradient of weights that the softmax ignores."""
    return torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-5)


def train(model, rows=slice(None), optimizer=None, steps=slice(None)) -> list[float]:
    """Train, on these rows of each batch in this process, and return the loss of each step over all processes."""
    optimizer = optimizer or new_optimizer(model)
    losses = []
    for batch in batches()[steps]:
        number = (batch["labels"] != -100).sum()
        own = {name: tensor[rows] for name, tensor in batch.items()}
        is_used = own["attention_mask"].any(dim=0)  # so the processes of data parallelism have unequal lengths
        own |= {name: own[name][:, is_used] for name in ("input_ids", "attention_mask")}
        share = model(**own, skip_logits=True, num_items_in_batch=number).loss
        processes = 1 if rows == slice(None) else 2
        (share * processes).backward()  # data parallelism takes the mean of the gradients
        optimizer.step()
        optimizer.zero_grad()
        if processes == 2:
            share = share.detach()
            torch.distributed.all_reduce(share)
        losses.append(share.item())
    return losses


OWN_ROWS = slice(RANK, None, 2)


def report(work: str, **results) -> None:
    if RANK == 0:
        Path(sys.argv[1], f"{work}.json").write_text(json.dumps(results))


def difference(one, other) -> float:
    """The largest difference between the weights that both have."""
    return max((one[name] - other[name]).abs().max().item() for name in one.keys() & other.keys())


def ddp() -> None:
    """`DistributedDataParallel`; the table of sinusoids is longer in the process with the longer sequences."""
    one = train(new_model("sinusoidal"))
    report("ddp", one=one, two=train(DistributedDataParallel(new_model("sinusoidal")), OWN_ROWS))


def fsdp() -> None:
    """FSDP2: training, a checkpoint of the middle that both kinds of models load, and generation."""
    folder = Path(sys.argv[1], "fsdp")
    whole, sharded = new_model("t5"), new_model("t5")
    shard_model(sharded, 2)
    assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())
    optimizer = new_optimizer(sharded)
    half = STEPS // 2
    two = train(sharded, OWN_ROWS, optimizer, slice(half))
    state = optimizer_state(sharded, optimizer)
    sharded.save_pretrained(folder)
    if RANK == 0:
        torch.save(state, folder / "optimizer.pt")
    torch.distributed.barrier()
    again = LocantForConditionalGeneration.from_pretrained(folder, distributed_config=DistributedConfig(fsdp_size=2))
    load_weights(again.train(), {name: torch.zeros_like(weight) for name, weight in read_weights(folder).items()})
    load_weights(again, read_weights(folder))
    optimizer = new_optimizer(again)
    load_optimizer_state(again, optimizer, torch.load(folder / "optimizer.pt"))
    two += train(again, OWN_ROWS, optimizer, slice(half, None))

    one = train(whole)
    loaded = LocantForConditionalGeneration.from_pretrained(folder).train()
    optimizer = new_optimizer(loaded)
    optimizer.load_state_dict(torch.load(folder / "optimizer.pt"))
    resumed_by_one = train(loaded, optimizer=optimizer, steps=slice(half, None))
    inputs = {name: tensor for name, tensor in batches()[0].items() if name != "labels"}
    load_weights(sharded, whole.state_dict())
    tokens = [model.eval().generate(**inputs, num_beams=2, max_new_tokens=3).tolist() for model in (whole, sharded)]
    sharded.save_pretrained(folder / "end")
    report(
        "fsdp",
        one=one,
        two=two,
        resumed_by_one=resumed_by_one,
        tokens=tokens,
        names=[sorted(read_weights(folder)), type(sharded).__name__],
        difference=difference(whole.state_dict(), read_weights(folder / "end")) if RANK == 0 else 0,
    )


def tp(encoding: str) -> None:
    """Tensor parallelism: each process computes half of the heads for all rows."""
    folder = Path(sys.argv[1], encoding)
    whole = new_model(encoding)
    if RANK == 0:
        whole.save_pretrained(folder)
    torch.distributed.barrier()
    divided = LocantForConditionalGeneration.from_pretrained(folder, distributed_config=DistributedConfig(tp_size=2))
    layer = divided.model.decoder.layers[0]
    for linear in (layer.self_attn.q_proj, layer.cross_attn.o_proj, layer.ffn.up_proj, divided.lm_head):
        assert isinstance(linear.weight, DTensor)
        assert linear.weight.to_local().numel() < linear.weight.numel()
    one, two = train(whole), train(divided.train())
    inputs = {name: tensor for name, tensor in batches()[0].items() if name != "labels"}
    inputs["cross_attention_mask"] = torch.rand(1, 4, 1, 5, generator=torch.Generator().manual_seed(2)) > 0.3
    inputs["cross_attention_mask"][..., 0] = True
    target = {"decoder_input_ids": batches()[0]["labels"].clamp(min=0)}
    with torch.no_grad():
        logits = [model.eval()(**inputs, **target).logits for model in (whole, divided)]
    inputs.pop("cross_attention_mask")
    tokens = [model.generate(**inputs, num_beams=2, max_new_tokens=3).tolist() for model in (whole, divided)]
    divided.save_pretrained(folder / "end")
    report(
        f"tp:{encoding}",
        one=one,
        two=two,
        tokens=tokens,
        masked=(logits[0] - logits[1]).abs().max().item(),
        difference=difference(whole.state_dict(), read_weights(folder / "end")) if RANK == 0 else 0,
    )


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=120))
    for work in sys.argv[3:]:
        name, _, encoding = work.partition(":")
        globals()[name](*([encoding] if encoding else []))
