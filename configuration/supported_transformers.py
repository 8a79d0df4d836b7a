# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""The versions of transformers that Locant's code works with; importing this file checks the installed version.

`locant` imports this file first, and so does the file of the config, which the Auto classes load before that of the
model when they load the code that was saved with a model. Therefore, an unsupported version of transformers is an error
of one sentence, with and without Locant installed. Later versions are refused until they are tested, because a new name
of an argument that `generate()` passes may make results silently wrong.
"""

import transformers
from packaging.specifiers import SpecifierSet

SUPPORTED = ">=5.20,<5.25"

if not SpecifierSet(SUPPORTED).contains(transformers.__version__, prereleases=True):
    raise ImportError(
        f"Locant's code works with transformers {SUPPORTED}, but {transformers.__version__} is installed: "
        f"pip install 'transformers{SUPPORTED}'."
    )
