"""How laws are fitted where nobody says otherwise; `--help` shows it without an import of NumPy."""

DEFAULT_DELTA = 1e-3
DEFAULT_RESAMPLES = 400
