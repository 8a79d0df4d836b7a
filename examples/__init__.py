# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Scripts that write data for `locant train`, YAML files that train on them, and a position encoding of one file."""
