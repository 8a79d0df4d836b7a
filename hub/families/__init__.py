# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The model families that Locant converts from and to, a file each."""
