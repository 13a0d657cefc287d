"""Local tables, in whatever form a hospital keeps them, read in the terms of the data contract."""
