"""``python -m sb3_qflex COMMAND``: the same as ``sb3-qflex COMMAND``."""

import sys

from sb3_qflex.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
