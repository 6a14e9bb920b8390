"""Build script of sb3-qflex; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = (ROOT / "sb3_qflex" / "version.txt").read_text().strip()

# Lower bounds are versions that the tests ran with (docs/upgrading.md), or what other packages here need.
EXTRAS = {
    # MyoSuite 3.0 does not build its hand with earlier MuJoCo.
    "myosuite": ["myosuite>=3.0.0", "mujoco>=3.7"],
    # Bodies of the paper that are not in MyoSuite; their models are found, never shipped.
    "envs": ["myosuite>=3.0.0", "mujoco>=3.7", "mujoco-menagerie", "scipy", "imageio[ffmpeg]"],
    "ray": ["ray>=2.40"],
    # rliable needs arch < 8, which does not import with pandas 3; RL Zoo imports rliable where it is installed.
    "study": ["rliable>=1.2", "pandas<3"],
    "export": ["onnx>=1.16", "onnxruntime>=1.19"],
    "docs": ["sphinx>=8", "furo", "myst-nb>=1.2", "sphinx-copybutton", "ipykernel"],
    "dev": [
        "pytest>=9",
        "pytest-xdist>=3.6",
        "hypothesis>=6.100",
        "ruff>=0.17.6",
        "import-linter>=2.17",
        "mypy>=2.4.1",
        "types-PyYAML",
        "tensorboard",
        "nbclient",
        "build",
        "twine",
    ],
}

# Trained policies come with the wheel while all together are small; otherwise users name a folder that has them.
POLICIES = ROOT / "sb3_qflex" / "pretrained"
BYTES = sum(file.stat().st_size for suffix in ("safetensors", "onnx") for file in POLICIES.glob(f"*.{suffix}"))
POLICY_FILES = ["*.safetensors", "*.onnx"] if BYTES < 10_000_000 else []

STARTUP_FILES = {
    "_sb3_qflex_startup.py": (ROOT / "sb3_qflex" / "zoo" / "startup.py").read_text(),
    "sb3_qflex_zoo.pth": "import _sb3_qflex_startup; _sb3_qflex_startup.install()\n",
}


class BuildPyWithStartup(build_py):
    """
    Add to the wheel what lets ``rl_zoo3`` know QFlex (see sb3_qflex/zoo/startup.py): that file, as a top-level module
    so that a Python process imports nothing else of ours, and the ``.pth`` file that runs it when Python starts.
    """

    def run(self):
        super().run()
        if not self.editable_mode:
            for name, text in STARTUP_FILES.items():
                (Path(self.build_lib) / name).write_text(text)

    def get_outputs(self, include_bytecode=True):
        outputs = super().get_outputs(include_bytecode)
        # Listed, so that uninstalling removes them. An editable install has `sb3-qflex train` only.
        ours = [] if self.editable_mode else STARTUP_FILES
        return [*outputs, *(str(Path(self.build_lib) / name) for name in ours)]


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
    cmdclass={"build_py": BuildPyWithStartup},
    packages=[*find_packages(include=["sb3_qflex*"]), "sb3_qflex.hyperparams"],
    package_dir={"sb3_qflex.hyperparams": "hyperparams"},
    package_data={
        "sb3_qflex": ["py.typed", "version.txt"],
        "sb3_qflex.hyperparams": ["*.yml", "small/*.yml", "fast/*.yml"],
        "sb3_qflex.studies": ["catalogue/*.yml"],
        "sb3_qflex.envs.synergies": ["presets/*.json"],
        "sb3_qflex.run_report": ["page.html"],
        "sb3_qflex.hub": ["card.md"],
        "sb3_qflex.pretrained": ["index.json", *POLICY_FILES],
    },
    install_requires=[
        "stable-baselines3>=2.9.2,<3",
        "sb3-contrib>=2.9.2,<3",
        "rl_zoo3>=2.9.2,<3",
        # rl_zoo3 imports seaborn at start-up but declares it only in an extra.
        "seaborn>=0.13",
        "torch>=2.8",
        "gymnasium>=1.0",
        "numpy>=2.0",
        "cloudpickle>=3",
        "threadpoolctl>=3.1",
        "packaging>=24.2",
        "jinja2",
        "psutil>=5.9",
        "safetensors>=0.5",
        "tqdm",
        "rich",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["sb3-qflex = sb3_qflex.cli.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
