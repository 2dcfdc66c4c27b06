"""The page and the interface for programs: one picture in, one verdict out."""
