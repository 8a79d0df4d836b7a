# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Reading, checking, tokenising and batching the data of a run."""
