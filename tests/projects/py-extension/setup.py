from setuptools import Extension, setup

setup(
    name="py-extension",
    version="1.0",
    description="Adds two numbers in C",
    author="Ann Author",
    author_email="ann@example.invalid",
    license="MIT",
    ext_modules=[Extension("adds", ["adds.c"])],
)
