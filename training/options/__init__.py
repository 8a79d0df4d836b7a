# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The options of `locant train`: their declarations, and parsing them from a YAML file and a command line."""
