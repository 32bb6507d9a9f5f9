"""``python -m monitor`` is the `livecordon` command."""

import sys

from monitor.cli.main import main

sys.exit(main())
