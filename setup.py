"""Build script of sb3-qflex; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
VERSION = (ROOT / "sb3_qflex" / "version.txt").read_text().strip()

EXTRAS = {
    "myosuite": ["myosuite>=3.0.0"],
    # Bodies of the paper that are not in MyoSuite; their models are found, never shipped.
    "envs": ["myosuite>=3.0.0", "mujoco>=3.3", "mujoco-menagerie", "imageio[ffmpeg]"],
    "ray": ["ray>=2.40"],
    "dev": ["pytest>=8", "pytest-xdist>=3.6", "ruff>=0.9", "mypy>=1.15", "hypothesis>=6.100", "types-PyYAML"],
}

setup(
    name="sb3-qflex",
    version=VERSION,
    description="Q-guided Flow Exploration (QFlex) for Stable-Baselines3 and RL Zoo",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    author="The sb3-qflex authors",
    python_requires=">=3.11,<3.14",
    packages=["sb3_qflex", "sb3_qflex.hyperparams"],
    package_dir={"sb3_qflex.hyperparams": "hyperparams"},
    package_data={"sb3_qflex": ["py.typed", "version.txt"], "sb3_qflex.hyperparams": ["*.yml"]},
    install_requires=[
        "stable-baselines3>=2.9.2,<3",
        "sb3-contrib>=2.9.2,<3",
        "rl_zoo3>=2.9.2,<3",
        # rl_zoo3 imports seaborn at start-up but declares it only in an extra.
        "seaborn>=0.13",
        "torch>=2.5",
        "gymnasium>=1.0",
        "numpy>=1.26",
        "tqdm",
        "rich",
    ],
    extras_require=EXTRAS,
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
