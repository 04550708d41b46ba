"""What the parts share that run the ledger as it is run: writers as processes, their records, the judgement."""
