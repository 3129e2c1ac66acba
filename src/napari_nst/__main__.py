"""``python -m napari_nst`` is the command ``napari-nst``."""

import sys

from napari_nst.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
