"""Makes one Python environment in a folder; the server runs it, as an account of its own, when a job needs one.

    python3 -I build.py RECIPE FOLDER        makes FOLDER/python, FOLDER/modules.txt and FOLDER/packages.txt
    python3 -I build.py --modules FILE       writes which modules this interpreter can import, one a line

RECIPE is JSON: {"manager": "venv", "requirements": [...]} or {"manager": "conda", "program": PATH, "file": {...}}.
What is done is printed. When it cannot be done, FOLDER/error says why in a sentence, and the exit status is 1. Standard
library only; pip is the wheel that Debian's python3-venv brings along, or the system's. pip's settings (index, folders
of wheels) come in PIP_* variables.
"""

import glob
import importlib.metadata
import json
import os
import pkgutil
import subprocess
import sys

# What Azure's files ask for and nothing here needs: a job is tracked without it, or by a subset of our own.
OPTIONAL = ("mlflow", "mlflow-skinny")


class Failure(Exception):
    """The environment cannot be made; the message is for people."""


def say(text):
    print(text, flush=True)


def pip_path():
    """The folder or wheel that pip is imported from; None: there is none."""
    wheels = sorted(glob.glob("/usr/share/python-wheels/pip-*.whl"))
    if wheels:
        return wheels[-1]
    try:
        import pip

        return os.path.dirname(os.path.dirname(pip.__file__))
    except ImportError:
        return None


def missing_of(requirements):
    """Those that this interpreter's own packages do not satisfy, each with what is installed of it: [(text, name, version)]."""
    from pip._vendor.packaging.requirements import InvalidRequirement, Requirement
    from pip._vendor.packaging.utils import canonicalize_name

    out = []
    for text in requirements:
        try:
            wanted = Requirement(text)
        except InvalidRequirement as error:
            raise Failure(f"\"{text}\" is not a requirement that pip can read: {error}") from None
        if wanted.marker is not None and not wanted.marker.evaluate():
            say(f"{text}: not for this machine")
            continue
        name = canonicalize_name(wanted.name)
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            out.append((text, name, None))
            continue
        if wanted.url or wanted.extras or not wanted.specifier.contains(version, prereleases=True):
            out.append((text, name, version))
        else:
            say(f"{text}: the system's {wanted.name} {version}")
    return out


def described(missing):
    return ", ".join(f"{text} (this machine has {version})" if version else text for text, _, version in missing)


def run_pip(python, requirements, folder):
    """Installs what the environment does not have; answers the exit status and the last line that names an error."""
    listed = os.path.join(folder, "requirements.txt")
    with open(listed, "w", encoding="utf-8") as file:
        file.write("\n".join(requirements) + "\n")
    command = [python, "-m", "pip", "install", "--no-input", "--no-cache-dir", "--disable-pip-version-check",
               "--no-warn-script-location", "--progress-bar", "off", "--retries", "2", "-r", listed]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": pip_path()}, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)  # fmt: skip
    errors = []
    for line in process.stdout:
        text = line.decode(errors="replace").rstrip()
        if "externally" not in text:
            say(text)
        if text.lstrip().startswith("ERROR:"):
            errors.append(text.lstrip()[6:].strip())
    return process.wait(), errors[-1:]


def install(python, requirements, folder):
    if not requirements:
        return
    pip = pip_path()
    if pip is None:
        raise Failure("there is no pip on this machine: install python3-venv")
    sys.path.append(pip)
    missing = missing_of(requirements)
    if not missing:
        say("the system's Python has all of it")
        return
    say(f"to be installed: {described(missing)}")
    status, errors = run_pip(python, requirements, folder)
    optional = [one for one in missing if one[1] in OPTIONAL]
    if status != 0 and optional:
        say(f"{described(optional)} cannot be had; jobs find the subset of MLflow that Lathe brings along")
        missing = [one for one in missing if one not in optional]
        rest = [text for text in requirements if text not in [one[0] for one in optional]]
        status, errors = run_pip(python, rest, folder) if missing else (0, [])
    if status != 0:
        raise Failure(f"pip cannot install {described(missing)}" + (f": {' '.join(errors)}" if errors else ""))


def make_venv(recipe, folder):
    import venv

    say(f"a virtual environment over {sys.executable} {sys.version.split()[0]}")
    at = os.path.join(folder, "python")
    venv.EnvBuilder(system_site_packages=True, symlinks=True, with_pip=False).create(at)
    python = os.path.join(at, "bin", "python")
    install(python, recipe["requirements"], folder)
    return python


def make_conda(recipe, folder):
    at = os.path.join(folder, "python")
    file = os.path.join(folder, "conda.yml")
    with open(file, "w", encoding="utf-8") as out:
        json.dump(recipe["file"], out)  # JSON is YAML
    program = recipe["program"]
    micro = os.path.basename(program).startswith(("micromamba", "mamba"))
    command = [program, "create", "--yes", "--prefix", at, "--file", file] if micro else \
              [program, "env", "create", "--prefix", at, "--file", file]  # fmt: skip
    say(" ".join(command))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    lines = []
    for line in process.stdout:
        lines = (lines + [line.decode(errors="replace").rstrip()])[-3:]
        say(lines[-1])
    if process.wait() != 0:
        raise Failure(f"{os.path.basename(program)} cannot make it: {' '.join(lines)}")
    python = os.path.join(at, "bin", "python")
    return python if os.path.exists(python) else None


def write_modules(path):
    """All names that `import NAME` may find, folders without __init__.py too; "*" when a finder may know more. Then the
    folders that were looked through: a newer one makes the list stale."""
    names = set(sys.stdlib_module_names) | set(sys.builtin_module_names)
    for folder in sys.path:
        if not os.path.isdir(folder):
            continue
        names.update(module.name for module in pkgutil.iter_modules([folder]))
        for entry in os.listdir(folder):
            if entry.isidentifier() and os.path.isdir(os.path.join(folder, entry)):
                names.add(entry)
            if entry.startswith("__editable__") or entry.endswith(".egg-link"):
                names.add("*")
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join(sorted(names)) + "\n")
        out.write("".join(f"{folder}\n" for folder in sys.path if os.path.isdir(folder)))


def write_packages(path):
    found = sorted({f"{one.metadata['Name']}=={one.version}" for one in importlib.metadata.distributions()})
    with open(path, "w", encoding="utf-8") as out:
        out.write("\n".join(found) + "\n")


def build(recipe, folder):
    python = make_conda(recipe, folder) if recipe["manager"] == "conda" else make_venv(recipe, folder)
    if python is None:
        return
    for mode in ("modules", "packages"):
        subprocess.run([python, "-I", "-B", __file__, f"--{mode}", os.path.join(folder, f"{mode}.txt")], check=True)


def main(arguments):
    if arguments[0] == "--modules":
        write_modules(arguments[1])
        return 0
    if arguments[0] == "--packages":
        write_packages(arguments[1])
        return 0
    with open(arguments[0], encoding="utf-8") as file:
        recipe = json.load(file)
    try:
        build(recipe, arguments[1])
    except (Failure, OSError, subprocess.CalledProcessError) as error:
        say(f"error: {error}")
        with open(os.path.join(arguments[1], "error"), "w", encoding="utf-8") as out:
            out.write(str(error))
        return 1
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
