# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The HTTP server of `locant serve`, and the page of `locant demo`."""
