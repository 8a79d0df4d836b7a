# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Pushing models to the Hub with their code and card; pipelines; conversion from and to other families; export."""
