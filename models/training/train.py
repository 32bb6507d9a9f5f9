"""Train, evaluate and write the violent-motion package: ``python models/training/train.py DATA_DIR``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from models.training.recipe import main

if __name__ == "__main__":
    main()
