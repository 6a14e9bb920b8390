"""One HTML page about one training run: ``python -m sb3_qflex run-report RUN_FOLDER``."""
