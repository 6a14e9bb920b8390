"""One HTML page about one training run: ``sb3-qflex run-report RUN_FOLDER``."""
