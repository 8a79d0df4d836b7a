# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""What is checked of a model that comes from elsewhere: its files, its weights, its sizes."""
