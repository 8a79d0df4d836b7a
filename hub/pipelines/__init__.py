# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The pipelines that Locant adds to those of transformers."""
