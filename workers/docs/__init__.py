"""Writes the pages of ``docs/`` that can be derived from the code, so that they cannot say anything else."""
