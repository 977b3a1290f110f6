"""
``python -m hraftd``: the same as the ``hraftd`` command.
"""

import sys

from hraftd.console import main

if __name__ == "__main__":
    sys.argv[0] = "hraftd"
    main()
