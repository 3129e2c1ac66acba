"""Install what Qt and OpenGL need on a Linux machine without a display, if it is missing.

Does nothing on other systems, or where everything is there.  On Debian and its relatives the packages are installed
with apt-get (as root, or by sudo where no password is asked for); elsewhere the missing ones are named.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys

#: Debian package to the library (for find_library) or program that shows that it is there.
NEEDED = {
    "xvfb": "Xvfb",
    "xauth": "xauth",
    "libegl1": "EGL",
    "libgl1": "GL",
    "libglx-mesa0": "GLX_mesa",
    "libgl1-mesa-dri": None,
    "libopengl0": "OpenGL",
    "libdbus-1-3": "dbus-1",
    "libfontconfig1": "fontconfig",
    "libglib2.0-0": "glib-2.0",
    "libxkbcommon-x11-0": "xkbcommon-x11",
    "libxcb-cursor0": "xcb-cursor",
    "libxcb-icccm4": "xcb-icccm",
    "libxcb-image0": "xcb-image",
    "libxcb-keysyms1": "xcb-keysyms",
    "libxcb-randr0": "xcb-randr",
    "libxcb-render-util0": "xcb-render-util",
    "libxcb-shape0": "xcb-shape",
    "libxcb-xfixes0": "xcb-xfixes",
    "libxcb-xinerama0": "xcb-xinerama",
    "libxcb-xinput0": "xcb-xinput",
}


def missing() -> list[str]:
    """Debian packages that seem not to be there."""
    found = []
    for package, sign in NEEDED.items():
        if sign in ("Xvfb", "xauth"):
            there = shutil.which(sign) is not None
        elif sign is None:
            there = any(
                os.path.isdir(f"{root}/dri")
                for root in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
            )
        else:
            there = ctypes.util.find_library(sign) is not None
        if not there:
            found.append(package)
    return found


def main() -> int:
    if not sys.platform.startswith("linux"):
        return 0
    packages = missing()
    if not packages:
        return 0
    print("Missing for Qt without a display:", " ".join(packages), flush=True)
    apt = shutil.which("apt-get")
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if apt is None or (prefix and shutil.which("sudo") is None):
        print("Install these (Debian's names) with your system's package manager, then run this again.")
        return 1
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ([apt, "update", "-qq"], [apt, "install", "-y", "-qq", "--no-install-recommends", *packages]):
        status = subprocess.run([*prefix, *command], env=environment, stdout=subprocess.DEVNULL, check=False).returncode
        if status:
            print("This failed; run it yourself:", " ".join([*prefix, *command]))
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
