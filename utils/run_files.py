# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The names of files in the folder of a run, which `locant train` writes, and the model card is made from."""

RUN_CONFIG_FILE = "run_config.yaml"
"""The options of the run, in the form of a file for `locant train`."""

METRICS_FILE = "metrics.json"
CURVE_FILE = "loss_curve.png"
