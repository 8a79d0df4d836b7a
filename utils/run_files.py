# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The names of the files that `locant train` writes to the folder of a run, and from which the model card is made."""

RUN_CONFIG_FILE = "run_config.yaml"
"""The YAML file with the options of the run, which `locant train` can also read as the config of a new run."""

METRICS_FILE = "metrics.json"
CURVE_FILE = "loss_curve.png"
