# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The subcommands of `locant`, each in a module with a function `run(arguments)`, and modules that they share."""
