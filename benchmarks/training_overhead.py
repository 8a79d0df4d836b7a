# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Measure the share of time that `locant train` spends between training steps: BPE dropout, collating, logging.

The arguments are those of `locant train`; 220 updates are made, of which the first 20 do not count, and nothing is
evaluated or saved:

    python benchmarks/training_overhead.py examples/ted_en_fr.yaml
    python benchmarks/training_overhead.py examples/ted_en_fr.yaml --dataloader_num_workers 1
"""

import sys
import tempfile
import time
from typing import Any

from training_lines import locant_trainer
from transformers import TrainerCallback

WARM_UP, UPDATES = 20, 220


class StepClock(TrainerCallback):
    """Measures the seconds of training steps, optimiser included, and the seconds between them.

    Args:
        warm_up: the number of first updates that do not count.
    """

    def __init__(self, warm_up: int):
        self.warm_up = warm_up
        self.in_steps, self.between_steps = 0.0, 0.0
        self._last = time.perf_counter()

    def _elapsed(self) -> float:
        now, last = time.perf_counter(), self._last
        self._last = now
        return now - last

    def on_step_begin(self, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        """Count the time since the last step."""
        elapsed = self._elapsed()
        if state.global_step >= self.warm_up:
            self.between_steps += elapsed

    def on_step_end(self, args: Any, state: Any, *rest: Any, **kwargs: Any) -> None:
        """Count the time of the step, which has just raised `global_step`."""
        elapsed = self._elapsed()
        if state.global_step > self.warm_up:
            self.in_steps += elapsed


def main(arguments: list[str]) -> None:
    """Train as the command line says, and print the times and the share."""
    fixed = ["--output_dir", tempfile.mkdtemp(), "--max_steps", str(UPDATES), "--report_to", "none"]
    fixed += ["--eval_strategy", "no", "--save_strategy", "no", "--no_load_best_model_at_end"]
    fixed += ["--average_checkpoints", "0"]
    trainer = locant_trainer([*arguments, *fixed])
    clock = StepClock(WARM_UP)
    trainer.add_callback(clock)
    trainer.train()
    updates = UPDATES - WARM_UP
    share = clock.between_steps / (clock.in_steps + clock.between_steps)
    print(
        f"An update takes {clock.in_steps / updates * 1000:.1f} ms in the training step and "
        f"{clock.between_steps / updates * 1000:.1f} ms between steps: {share:.1%} of the time."
    )


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    main(sys.argv[1:])
