"""The search: an Optuna study over one workload on one machine, its samplers, its stages and its answer."""
