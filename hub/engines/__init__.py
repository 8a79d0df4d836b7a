# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Other engines that run Locant's models, a file each."""
