"""The search: objective, sampler, memory and time models, budget, confirmation."""
