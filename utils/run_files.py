# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The names of the files that `locant train` writes to the folder of a run, and from which the model card is made."""

RUN_CONFIG_FILE = "run_config.yaml"
"""The options of the run, in the form of a file for `locant train`."""

METRICS_FILE = "metrics.json"
CURVE_FILE = "loss_curve.png"
