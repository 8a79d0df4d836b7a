# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The function `locant.train`, which trains a model from Python as the command `locant train` does."""

import os
from collections.abc import Mapping
from typing import Any


def train(config: str | os.PathLike[str] | Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """Train a model as the command `locant train` does, or resume the run in `output_dir`.

    Args:
        config: the path of a YAML file of `locant train`; or the content of such a file: a dictionary with some of the
            keys `task`, `model`, `data` and `training`, in which the last three have dictionaries of options as values;
            or None if `options` has all options.
        **options: options of `locant train` by name; they take precedence over the options in `config`.

    Returns:
        The content of `metrics.json` in the folder of the run; with `dry_run`, a dictionary of counts, such as the rows
        and the tokens of each split. After training, the processes other than the main process return an empty
        dictionary.

    Raises:
        InputError: an option does not exist or cannot have the given value, the data or a file cannot be used,
            training diverged, a data worker died, or the Hub refused the finished model. `InputError` is a subclass of
            ValueError.
        Terminated, KeyboardInterrupt: SIGTERM or Ctrl-C ended the run.
    """
    # imported here, because `import locant` would take longer with these modules
    from locant.hub.sharing.model_card import write_model_card
    from locant.training.options.run_config import run_config_from_python
    from locant.training.run.training_run import train as train_run

    return train_run(run_config_from_python(config, options), write_card=write_model_card)
