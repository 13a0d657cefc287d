"""What all parties agree on. No framework, no clock, no environment, no network; see docs/architecture.md.

One variable is set here, before any arithmetic: Intel's library of matrix products, which PyTorch uses, computes rows of a
product in ways that depend on where a row lies, on some processors (seen on AMD's). In its reproducible mode it does not, at the
same speed. What relies on it is tried before use, see :mod:`site_client.row_order`.
"""

import os

os.environ.setdefault("MKL_CBWR", "AUTO")  # read once, by the library's first product
