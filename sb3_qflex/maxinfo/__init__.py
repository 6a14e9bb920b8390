"""MaxInfoRL (arXiv 2412.12098): off-policy algorithms that also seek what a learned model of the dynamics gains by."""
