"""Arrays of records, kept on disk: stores of imported images and signals, and rows that are read when they are needed."""
