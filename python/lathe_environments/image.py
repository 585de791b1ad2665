"""Makes a container image's root file system in a folder; the server runs it when a job needs one.

    python3 -I image.py RECIPE FOLDER            makes FOLDER/root and FOLDER/image.json
    python3 -I image.py --within RECIPE FOLDER   the part of it that runs in namespaces of its own

RECIPE is JSON: {"manager": "image", "image": NAME} or {"manager": "build", "context": DIGEST, "dockerfile": PATH}, whose
folder lies in FOLDER/tmp/context; with "program", the container engine, and, where this runs as root, "accounts": who root
and the first of the others are outside of a build. FOLDER/image.json says {"shell", "env", "id"}.

Podman runs as root of a user namespace, with processes, mounts and a store of its own in FOLDER/tmp: what it and a Dockerfile
start dies with the build, and nothing is left of it but that folder. Images that the server's account has are copied from
there. What is done is printed. When it cannot be done, FOLDER/error says why in a sentence, and the exit status is 1.
Standard library only.
"""

import ctypes
import glob
import json
import os
import pwd
import re
import shutil
import subprocess
import sys

CLONE_NEWUSER = 0x10000000
NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
SHELLS = ("/bin/bash", "/bin/sh")
ELSE = "Fetch it as the server's account (`podman pull`, `podman load`), or make its registry reachable"


class Failure(Exception):
    """The image cannot be had; the message is for people."""


def say(text):
    print(text, flush=True)


def run(command, why, quiet=False, **more):
    """Runs a command, prints what it prints, and answers its output; `why` begins the message when it fails."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **more)
    lines = []
    for line in process.stdout:
        lines.append(line.decode(errors="replace").rstrip())
        if not quiet:
            say(lines[-1])
    if process.wait() != 0:
        begins = max((number for number, line in enumerate(lines) if line.lower().startswith(("error", "fatal"))), default=-3)
        raise Failure(f"{why}: {' '.join(line.strip() for line in lines[begins:] if line.strip())[:1000] or 'it says nothing'}")
    return lines


# --- as the server's account ---


def images_of(dockerfile):
    """The images that a Dockerfile begins with or copies from, but for those that its arguments name."""
    stages, found = {"scratch"}, []
    for line in dockerfile.replace("\\\n", " ").splitlines():
        words = line.split()
        if not words or words[0].upper() not in ("FROM", "COPY"):
            continue
        options = [word for word in words[1:] if word.startswith("--")]
        rest = [word for word in words[1:] if not word.startswith("--")]
        if words[0].upper() == "FROM" and rest:
            name = rest[0]
            if len(rest) == 3 and rest[1].upper() == "AS":
                stages.add(rest[2].lower())
        else:
            name = next((option[7:] for option in options if option.startswith("--from=")), "")
        if name and not name.isdigit() and "$" not in name and name.lower() not in stages and name not in found:
            found.append(name)
    return found


def hand_in(recipe, folder):
    """Copies what this account's podman has of the images that are asked for; answers [(name, archive)]."""
    if recipe["manager"] == "image":
        names = [recipe["image"]]
    else:
        path = os.path.join(folder, "tmp/context", recipe["dockerfile"])
        if not os.path.isfile(path):
            raise Failure(f"there is no {recipe['dockerfile']} in the folder of build.path")
        with open(path, encoding="utf-8", errors="replace") as file:
            names = images_of(file.read())
    ours = {name[8:]: value for name, value in os.environ.items() if name.startswith("SERVERS_")}
    ours = {"PATH": os.environ["PATH"], "TMPDIR": os.path.join(folder, "tmp"), **ours}
    out = []
    for number, name in enumerate(names):
        known = subprocess.run([recipe["program"], "image", "exists", name], env=ours, stdin=subprocess.DEVNULL, capture_output=True)
        if known.returncode != 0:
            continue
        archive = os.path.join(folder, "tmp", f"given-{number}.tar")
        run([recipe["program"], "save", "--quiet", "--format", "oci-archive", "--output", archive, name],
            f"podman cannot copy the image {name}", env=ours)  # fmt: skip
        os.chmod(archive, 0o644)
        say(f"{name}: as this machine has it")
        out.append((name, archive))
    return out


def has_more_accounts():
    """Whether this account may give others to a namespace, as /etc/subuid says."""
    try:
        names = (pwd.getpwuid(os.geteuid()).pw_name, str(os.geteuid()))
        lists = []
        for path in ("/etc/subuid", "/etc/subgid"):
            with open(path, encoding="utf-8") as file:
                lists.append([line.split(":")[0] for line in file])
    except (OSError, KeyError):
        return False
    return shutil.which("newuidmap") is not None and all(set(names) & set(listed) for listed in lists)


def enter(accounts, command, env):
    """Runs a command as root of a user namespace, with processes and mounts of its own; answers its exit status."""
    if os.geteuid() != 0:
        mapping = ["--map-root-user", "--map-auto"] if has_more_accounts() else ["--map-root-user"]
        return subprocess.run(["unshare", "--user", *mapping, *NAMESPACES, *command], env=env).returncode
    made, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(mapped[1])
        if ctypes.CDLL(None).unshare(CLONE_NEWUSER) != 0:
            os._exit(126)
        os.write(made[1], b"x")
        if os.read(mapped[0], 1) != b"x":
            os._exit(126)
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        os.execvpe("unshare", ["unshare", *NAMESPACES, *command], env)
    os.close(made[1])
    if os.read(made[0], 1) == b"x":
        for kind in ("uid", "gid"):
            with open(f"/proc/{child}/{kind}_map", "w", encoding="ascii") as file:
                file.write(f"0 {accounts[0]} 1\n1 {accounts[1]} 65535\n")
        os.write(mapped[1], b"x")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def settings(folder):
    """The machine's settings of registries; where they say nothing of it, a name without a host is Docker Hub's. Nobody's password."""
    source = os.environ.get("SERVERS_CONTAINERS_REGISTRIES_CONF", "/etc/containers/registries.conf")
    try:
        with open(source, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        text = ""
    if not re.search(r"^\s*unqualified-search-registries", text, re.MULTILINE):
        text = 'unqualified-search-registries = ["docker.io"]\n' + text
    tmp = os.path.join(folder, "tmp")
    for name, content in (("registries.conf", text), ("auth.json", "{}")):
        with open(os.path.join(tmp, name), "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(file.name, 0o644)
    return {"CONTAINERS_REGISTRIES_CONF": f"{tmp}/registries.conf", "REGISTRY_AUTH_FILE": f"{tmp}/auth.json"}


def by_podman(recipe, folder):
    given = hand_in(recipe, folder)
    env = {name: value for name, value in os.environ.items() if not name.startswith("SERVERS_")}
    env.update(settings(folder))
    # As in a user namespace that podman made itself.
    account = recipe["accounts"][0] if "accounts" in recipe else os.geteuid()
    env.update({"_CONTAINERS_USERNS_CONFIGURED": "done", "_CONTAINERS_ROOTLESS_UID": str(account)})
    # From here on nothing is written as this account: what a Dockerfile runs could put links in the way.
    command = [sys.executable, "-I", "-B", __file__, "--within", sys.argv[-2], folder, json.dumps(given)]
    status = enter(recipe.get("accounts"), command, env)
    if status == 126:
        say("error: no user namespace can be made here, which podman needs: see sysctl user.max_user_namespaces")
    return status


# --- in namespaces of its own ---


def fetch(podman, recipe, folder, given):
    """Answers the id of the image in the store of this build."""
    known = {}
    for name, archive in given:
        known[name] = run([*podman, "pull", "--quiet", f"oci-archive:{archive}"], f"podman cannot read {name}", quiet=True)[-1]
        os.remove(archive)
        if "@" not in name:
            run([*podman, "tag", known[name], name], f"podman cannot name {name}", quiet=True)
    if recipe["manager"] == "image":
        name = recipe["image"]
        return known.get(name) or run([*podman, "pull", f"docker://{name}"], f"podman cannot fetch the image {name}. {ELSE}. It says")[-1]
    context = os.path.join(folder, "tmp/context")
    number = os.path.join(folder, "tmp", "id")
    with open("/proc/self/uid_map", encoding="ascii") as file:
        alone = file.read().split()[2:] == ["1"]
    why = f"{recipe['dockerfile']} cannot be built" + alone * (" (RUN needs more accounts than this server's: name some for it in "
                                                              "/etc/subuid and /etc/subgid, and install uidmap)")  # fmt: skip
    run([*podman, "build", "--isolation", "chroot", "--network", "host", "--pull=missing", "--iidfile", number,
         "--file", os.path.join(context, recipe["dockerfile"]), context], why)  # fmt: skip
    with open(number, encoding="ascii") as file:
        return file.read().strip()


def unpack(podman, image, root):
    run([*podman, "create", "--name", "lathe", "--pull", "never", image, SHELLS[-1]], "podman cannot open the image", quiet=True)
    export = subprocess.Popen([*podman, "export", "lathe"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    tar = subprocess.run(["tar", "-x", "--no-same-owner", "--no-same-permissions", "--anchored", "--exclude=dev", "--exclude=proc",
                          "--exclude=sys", "--exclude=run", "-C", root], stdin=export.stdout, stderr=subprocess.PIPE, text=True)  # fmt: skip
    export.stdout.close()
    # Devices cannot be made here, and a job has its own.
    errors = [line for line in tar.stderr.splitlines() if "Cannot mknod" not in line and "Exiting with failure" not in line]
    if export.wait() != 0 or (tar.returncode != 0 and errors):
        raise Failure(f"the image cannot be unpacked: {' '.join(errors[-1:])}")


def variables(podman, image):
    lines = run([*podman, "image", "inspect", "--format", "{{json .Config.Env}}", image], "podman cannot describe the image", quiet=True)
    return dict(one.split("=", 1) for one in json.loads(lines[-1]) or [] if "=" in one)


def within(recipe, folder, given):
    os.umask(0o022)
    # Locks and names that podman keeps for the whole machine.
    for place in ("/dev/shm", "/var/cache"):
        run(["mount", "-t", "tmpfs", "tmpfs", place], f"cannot make a {place} of its own")
    tmp = os.path.join(folder, "tmp")
    # Parts of it ask for the account's home, and builds' accounts have no name.
    with open("/etc/passwd", encoding="utf-8") as known, open(f"{tmp}/passwd", "w", encoding="utf-8") as file:
        account = os.environ["_CONTAINERS_ROOTLESS_UID"]
        file.write(known.read() + f"lathe-build:x:{account}:{account}::{tmp}:/bin/sh\n")
    run(["mount", "--bind", f"{tmp}/passwd", "/etc/passwd"], "cannot make an /etc/passwd of its own")
    # Its paths of what runs may not be long.
    podman = [recipe["program"], "--root", f"{tmp}/store", "--runroot", "/dev/shm/run", "--tmpdir", "/dev/shm/libpod"]
    root = os.path.join(folder, "root")
    os.mkdir(root)
    for left in set(glob.glob(os.path.join(os.path.dirname(folder), "env-*/tmp"))) - {tmp}:
        subprocess.run(["rm", "-rf", left], check=False)  # of a build that was killed: its files may be other accounts'
    try:
        image = fetch(podman, recipe, folder, given)
        unpack(podman, image, root)
        finish(root, folder, variables(podman, image), image, [])
    finally:
        # Some folders of its store are closed to everybody else.
        subprocess.run(["umount", "--lazy", f"{tmp}/store/overlay"], capture_output=True, check=False)
        subprocess.run(["rm", "-rf", f"{tmp}/store"], check=False)


# --- by apptainer, and for both ---


def by_apptainer(recipe, folder):
    root, tmp = os.path.join(folder, "root"), os.path.join(folder, "tmp")
    env = {name: value for name, value in os.environ.items() if not name.startswith("SERVERS_")}
    env.update(APPTAINER_CACHEDIR=f"{tmp}/cache", APPTAINER_TMPDIR=tmp)
    run([recipe["program"], "build", "--sandbox", root, f"docker://{recipe['image']}"],
        f"apptainer cannot fetch the image {recipe['image']}. Make its registry reachable. It says", env=env)  # fmt: skip
    found = {}
    try:
        with open(os.path.join(root, ".singularity.d/env/10-docker2singularity.sh"), encoding="utf-8") as file:
            for name, value in re.findall(r'^export (\w+)="(?:\$\{\1:-"?)?(.*?)"?\}?"$', file.read(), re.MULTILINE):
                found[name] = value
    except FileNotFoundError:
        pass
    finish(root, folder, found, recipe["image"], ["unshare", "--user", "--map-root-user"])
    return 0


def finish(root, folder, env, image, prefix):
    """Makes the root ready for jobs, and writes down what they need to know of it."""
    os.makedirs(os.path.join(root, "etc"), exist_ok=True)
    for name in ("resolv.conf", "hosts"):
        path = os.path.join(root, "etc", name)
        if os.path.islink(path):
            os.remove(path)
        open(path, "a", encoding="utf-8").close()
    said = []
    for shell in SHELLS:
        tried = subprocess.run([*prefix, "chroot", root, shell, "-c", "exit 0"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if tried.returncode == 0:
            break
        said.append(tried.stderr.strip())
    else:
        raise Failure(f"the image has no shell that runs here, and jobs' commands are a shell's: {said[-1]}. "
                      "Take an image with /bin/sh, or add one in a Dockerfile")  # fmt: skip
    with open(os.path.join(folder, "image.json"), "w", encoding="utf-8") as out:
        json.dump({"shell": shell, "env": env, "id": image}, out)


def main(arguments):
    inside = arguments[0] == "--within"
    recipe_file, folder = arguments[1:3] if inside else arguments[:2]
    with open(recipe_file, encoding="utf-8") as file:
        recipe = json.load(file)
    try:
        if inside:
            within(recipe, folder, json.loads(arguments[3]))
        elif os.path.basename(recipe["program"]) == "podman":
            return by_podman(recipe, folder)
        else:
            return by_apptainer(recipe, folder)
    except (Failure, OSError) as error:
        say(f"error: {error}")
        with open(os.path.join(folder, "error"), "w", encoding="utf-8") as out:
            out.write(str(error))
        return 1
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
