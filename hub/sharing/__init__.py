# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The code and the card that are saved with a model, and pushing to the Hub."""
