# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What any Trainer of transformers pushes of a Locant model carries its code.

With a `hub_strategy` that pushes while training, the Trainer copies config and weights of a checkpoint to its output
folder, and pushes that: the code has to be there too.
"""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from locant.hub.bundle import write_bundle
from locant.modeling.pretrained import LocantPreTrainedModel


class CodeOnPush(TrainerCallback):
    """Writes a Locant model's code to the Trainer's output folder before that is pushed."""

    def on_push_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """As in transformers: on one process, before files are gathered."""
        model = getattr(model, "module", model)  # out of what holds it in several processes
        if isinstance(model, LocantPreTrainedModel) and args.output_dir is not None and args.should_save:
            Path(args.output_dir).mkdir(parents=True, exist_ok=True)
            write_bundle(model, Path(args.output_dir))
