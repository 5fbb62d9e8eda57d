"""Puts configs/ into the wheel as ddim_jax/configs; all else about the package stands in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # where they are used as they lie in the checkout
            folder = Path(self.build_lib, "ddim_jax", "configs")
            self.mkpath(str(folder))
            for path in sorted(Path("configs").glob("*.py")):
                self.copy_file(str(path), str(folder / path.name))


setup(cmdclass={"build_py": BuildWithConfigs})
