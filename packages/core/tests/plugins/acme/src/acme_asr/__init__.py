"""Example of a plugin of ASR Lab."""
