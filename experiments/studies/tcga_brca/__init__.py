"""Survival with breast cancer in six regions."""
