"""Sweeps that outlive who asked for them: as a process here, or as a job on a cluster."""
