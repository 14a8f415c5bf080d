"""What several tests need: synthetic studies, small sweeps, a browser, a database, processes."""
