# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Runs the command `locant` for `python -m locant`, and so for `accelerate launch -m locant`."""

import sys

from locant.cli import main

sys.exit(main())
