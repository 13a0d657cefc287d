"""The study report: its content as data, its figures and its page."""
