from setuptools import setup

setup(
    name="Py_Setup",
    version="1.2rc1",
    description="Prints a table of texts.",
    long_description="Reads YAML and prints it as a table.\n\nIt is a sample.",
    author="Ann Author",
    author_email="ann@example.invalid",
    url="https://example.invalid/py-setup",
    license="MIT",
    py_modules=["py_setup"],
    install_requires=["PyYAML>=5", "requests", "tomli; python_version < '3.11'", "colorama; sys_platform == 'win32'"],
    extras_require={"more": ["nosuch-thing"]},
    entry_points={"console_scripts": ["py-setup = py_setup:main"]},
)
