"""What pyproject.toml cannot say: the package holds configs/ and the example network, where they lie here."""

from setuptools import find_packages, setup

SHIPPED = {"scaling_laws.shipped.configs": "configs", "scaling_laws.shipped.examples": "examples"}

setup(packages=[*find_packages("src"), *SHIPPED], package_dir={"": "src", **SHIPPED})
