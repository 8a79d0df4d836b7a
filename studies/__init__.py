# Copyright 2026 The Locant Authors. Licensed under the Apache License, Version 2.0.
"""`locant study`: position encodings compared on generated data and on a translation task."""
