"""The deterministic simulator: the real worker, gateway and reconciler under a scheduler that owns everything else."""
