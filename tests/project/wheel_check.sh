#!/bin/sh
# The fast suite against the wheel in dist/, in a new virtual environment and a folder without the package's source.
# PYTHON makes the environment; WHEEL_EXTRAS (comma-separated) are installed with the wheel; arguments go to pytest.
set -e
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
wheel=$(ls "$PWD"/dist/*.whl)
"$work/venv/bin/pip" install -q -c constraints.txt torch "$wheel[${WHEEL_EXTRAS:-myosuite,envs,ray,study,export,dev}]"
# pyproject.toml configures pytest. Tests of other files of the repository skip.
mkdir "$work/suite"
cp -r tests examples pyproject.toml "$work/suite"
cd "$work/suite"
"$work/venv/bin/python" -c "import sb3_qflex, sys; sys.exit('site-packages' not in sb3_qflex.__file__)"
OMP_NUM_THREADS=1 PYTHONSAFEPATH=1 "$work/venv/bin/pytest" -n 2 -q -rs "$@"
