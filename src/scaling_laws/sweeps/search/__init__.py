"""The search for the best shape of one N, sampled by Optuna."""
