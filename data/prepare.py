"""Make the study's evaluation sets and spike-ins from their public files: data/README.md, "Public evaluation sets".

python data/prepare.py                        # lists all sets and what each waits for
python data/prepare.py NAME... [--download]   # prepares sets; nothing is fetched unless asked for
python data/prepare.py replogle --cells 100000 --seed 0
"""

import sys

from helpers.prepare import main

if __name__ == "__main__":
    sys.exit(main())
