"""Packaging; everything static stands in pyproject.toml and requirements/."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).parent


def requirements(name):
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


HOOK = ROOT / 'glmix_mm' / 'compat' / 'startup.py'  # which says why it is needed


def write_startup(folder, source):
    """Let each Python process run the start-up hook's source, from the folder of packages."""
    (folder / '_glmix_mm_startup.py').write_text(source, encoding='utf-8')
    (folder / '_glmix_mm_startup.pth').write_text('import _glmix_mm_startup\n')


class EditableWithStartup(editable_wheel):
    """Adds the start-up hook to an installation that runs the checkout's own files."""

    def _install_namespaces(self, installation_dir, pth_prefix):
        super()._install_namespaces(installation_dir, pth_prefix)
        # The checkout's file as it is then; nothing once the checkout is gone.
        source = f"""
path = {str(HOOK)!r}
try:
    with open(path, encoding='utf-8') as file:
        code = file.read()
except OSError:
    code = ''
exec(compile(code, path, 'exec'))
"""
        write_startup(Path(installation_dir), source)


class BuildWithConfigs(build_py):
    """Adds what stands outside the package: configs and tools, and the start-up hook."""

    def run(self):
        super().run()
        if self.editable_mode:  # the checkout's own files are used
            return
        target = Path(self.build_lib)
        ignore = shutil.ignore_patterns('__pycache__')
        for folder in ('configs', 'tools'):
            inside = target / 'glmix_mm' / '.mim' / folder
            shutil.rmtree(inside, ignore_errors=True)
            shutil.copytree(ROOT / folder, inside, ignore=ignore)
        for name in ('model-index.yml', 'README.md'):  # the metafiles name the latter
            shutil.copyfile(ROOT / name, target / 'glmix_mm' / '.mim' / name)
        write_startup(target, HOOK.read_text(encoding='utf-8'))


setup(
    name='glmix_mm',
    version=re.search(r"__version__ = '(.+)'", (ROOT / 'glmix_mm/version.py').read_text())[1],
    description='GLNet, DilateFormer and FCViT for mmdetection, mmsegmentation and mmpretrain',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='the glmix_mm authors',
    license='Apache-2.0',
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['glmix_mm', 'glmix_mm.*']),
    install_requires=requirements('runtime') + requirements('mminstall'),
    entry_points={'console_scripts': ['glmix = glmix_mm.cli:main']},
    extras_require={
        'lite': requirements('optional'),
        'convert': requirements('convert'),
        'app': requirements('app'),
        'deploy': requirements('deploy'),
        'tests': requirements('tests'),
        'docs': requirements('docs'),
        'zoo': requirements('zoo'),
    },
    cmdclass={'build_py': BuildWithConfigs, 'editable_wheel': EditableWithStartup},
    zip_safe=False,
)
