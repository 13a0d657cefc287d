"""The meaning of columns, who is in a study, and encoding with public facts. Holds no patient."""
