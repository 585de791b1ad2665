"""Whether this machine lets tests make sandboxes. In a chroot, and in most containers, it does not."""

import os
import shutil
import subprocess

import pytest

UNPRIVILEGED = 64999


def works(account):
    """Whether bubblewrap can make a sandbox here as `account`; takes root."""
    if shutil.which("bwrap") is None:
        return False
    command = ["bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run(command, capture_output=True, user=account, group=account, extra_groups=[]).returncode == 0


needs_sandbox = pytest.mark.skipif(os.geteuid() != 0 or not works(UNPRIVILEGED), reason="takes root and bubblewrap")
python_can_be_deployed = pytest.mark.skipif(os.geteuid() == 0 and not works(UNPRIVILEGED),
                                            reason="as root, Python is deployed in a sandbox, which cannot be made here")  # fmt: skip
