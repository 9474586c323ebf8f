#!/usr/bin/env bash
# Make a Debian 12 root directory that stands in for the manylinux base image
# where no container registry can be reached. Needs root, debootstrap and an apt mirror.
#
#   debian_base.sh ROOT [PREFIX...]
#
# ROOT    directory to make
# PREFIX  where a CPython is installed (its sys.base_prefix); each becomes /opt/python/cpXY-cpXY,
#         beside Debian's own Python 3.11
set -euo pipefail

suite=bookworm

say() { echo "==> $*"; }

fail() {
  echo "debian_base.sh: $*" >&2
  exit 1
}

# Print the Debian mirror that this machine's apt uses.
find_mirror() {
  local mirrors
  mirrors=$(apt-get indextargets --format "\$(REPO_URI)" \
    'Created-By: Packages' 'Component: main' 'Origin: Debian')
  head -n 1 <<<"$mirrors"
}

# Copy the interpreter under PREFIX, without tests, caches and installed packages.
copy_python() {
  local prefix=$1 version=$2 root=$3
  local home="$root/opt/_internal/cpython-$version"
  mkdir -p "$home"
  tar -C "$prefix" -cf - \
    --exclude='__pycache__' --exclude='*.a' \
    --exclude="lib/python$version/"{test,idlelib,tkinter,turtledemo,site-packages} \
    --exclude='lib/python3*/config-*' \
    bin include lib | tar -C "$home" --no-same-owner -xf -
  # A shared libpython is looked up where the interpreter was built: tell the loader where it is now.
  echo "/opt/_internal/cpython-$version/lib" >>"$root/etc/ld.so.conf.d/cpython.conf"
  chroot "$root" ldconfig
}

# Give PYTHON (a path inside ROOT) its place in /opt/python, with a pip of its own.
add_python() {
  local root=$1 python=$2 version=$3
  local tag="cp${version/./}"
  chroot "$root" "$python" -c 'import bz2, ctypes, lzma, sqlite3, ssl, zlib' ||
    fail "Python $version misses a shared library in the new root."
  chroot "$root" "$python" -m venv "/opt/python/$tag-$tag"
  say "Python $version is /opt/python/$tag-$tag"
}

[[ $# -ge 1 ]] || fail "usage: debian_base.sh ROOT [PREFIX...]"
root=$1
shift
[[ $EUID -eq 0 ]] || fail "must run as root: debootstrap and chroot need it."
command -v debootstrap >/dev/null || fail "debootstrap is not installed: apt-get install debootstrap."
mirror=$(find_mirror)
[[ -n $mirror ]] || fail "apt on this machine knows no Debian mirror."

say "installing Debian $suite into $root (one to three minutes)"
debootstrap --variant=minbase --include=ca-certificates,git,python3-venv "$suite" "$root" "$mirror"

add_python "$root" /usr/bin/python3 3.11
for prefix in "$@"; do
  version=$("$prefix/bin/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  [[ $version != 3.11 ]] || continue
  copy_python "$prefix" "$version" "$root"
  add_python "$root" "/opt/_internal/cpython-$version/bin/python3" "$version"
done
# cibuildwheel runs its own helpers with this one; any version serves.
ln -s cp311-cp311 "$root/opt/python/cp39-cp39"

rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb \
  "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}/*
say "done"
