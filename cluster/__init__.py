"""How runs are executed: packs, resources, executors in this process and on Ray."""
