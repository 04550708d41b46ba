"""Mutation score: guards of the ledger's SQL and of the Python core are removed one at a time; a test must notice each.

``named/`` holds the removals that somebody thought of, with the reason; `generated` makes the others by rule. A mutant
lives in the memory of one process only: no file of the tree is changed, and several processes may run at once.
"""
