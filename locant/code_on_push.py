# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""A callback with which every `Trainer` of transformers pushes the code of a Locant model together with the model.

With a `hub_strategy` that pushes during training, the Trainer copies the config and the weights of a checkpoint to its
output folder, and pushes that folder. It does not copy the code, so the callback writes the code to the folder.
"""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from locant.hub.sharing.bundle import write_bundle
from locant.modeling.pretrained import LocantPreTrainedModel


class CodeOnPush(TrainerCallback):
    """Writes a Locant model's code to the Trainer's output folder before the Trainer pushes the folder."""

    def on_push_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Write the code if `model` is a Locant model, this process saves files, and bundling of code is not disabled.

        The Trainer calls this method before it pushes.
        """
        model = getattr(model, "module", model)  # unwrap DistributedDataParallel
        if isinstance(model, LocantPreTrainedModel) and args.output_dir is not None and args.should_save:
            Path(args.output_dir).mkdir(parents=True, exist_ok=True)
            write_bundle(model, Path(args.output_dir))
