"""A sweep file becomes jobs: what is trained, how long it takes, what it needs. No torch."""
