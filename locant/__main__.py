# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`python -m locant`, for `accelerate launch -m locant`."""

import sys

from locant.cli import main

sys.exit(main())
