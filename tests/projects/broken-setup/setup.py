from setuptools import setup

setup(name="broken-setup", version=undefined)
