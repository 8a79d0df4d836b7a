# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""Pictures of attention weights, position encodings, word vectors and word alignments."""
