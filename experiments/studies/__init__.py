"""The named studies: each a folder with its question, contract, mappings and expected result."""
