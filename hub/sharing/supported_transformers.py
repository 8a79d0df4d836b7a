# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The versions of transformers that Locant's code works with; importing this file checks the installed version.

This file is saved with each model, and the files of the model's classes import it first. Therefore, with an unsupported
version of transformers, loading the model raises an error of one sentence even where Locant is not installed.
"""

import transformers
from packaging.specifiers import SpecifierSet

SUPPORTED = ">=5.20,<6"

if not SpecifierSet(SUPPORTED).contains(transformers.__version__, prereleases=True):
    raise ImportError(
        f"The code of this model works with transformers {SUPPORTED}, but {transformers.__version__} is installed: "
        f"pip install 'transformers{SUPPORTED}'."
    )
