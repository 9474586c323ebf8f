#!/usr/bin/env bash
# Run the README's commands as a newcomer would: in a container with Python and git and nothing
# else, from a clone of HEAD. Needs podman and the Debian base of `nox -s image -- --base debian`.
# The tests' command runs a part of them: that they run at all is what is shown.
set -euo pipefail
cd "$(dirname "$0")/../.."

base=$(podman images --format '{{.Repository}}:{{.Tag}}' localhost/mlc_llm-debian-base | sed -n 1p)
[[ -n $base ]] || {
  echo "fresh_machine.sh: there is no Debian base: run nox -s image -- --base debian first." >&2
  exit 1
}
mapfile -t commands < <(grep -- '^python3 noxfile.py -s' README.md)
[[ ${#commands[@]} -eq 2 ]] || {
  echo "fresh_machine.sh: the README gives ${#commands[@]} commands instead of two." >&2
  exit 1
}

# A copy that borrows no objects from elsewhere on this machine.
origin=$(mktemp -d)
trap 'rm -rf "$origin"' EXIT
git clone --quiet --bare "file://$PWD" "$origin"

# What takes minutes was compiled in the same way on this machine: the C++ libraries, and all but
# the few files that hold the version.
cache="$(python3 -c 'from ci.paths import cache_dir; print(cache_dir())')"
arguments=(--rm --volume "$origin:/origin:ro")
for folder in zig objects; do
  arguments+=(--volume "$cache/$folder:/root/.cache/mlc_llm-factory/$folder")
done
part="tests/ci/test_bootstrap.py tests/ci/test_docs.py tests/python/test_cli.py"
arguments+=(--env "PYTEST_ADDOPTS=$part" --env UV_HTTP_RETRIES)
if [[ -n ${SSL_CERT_FILE:-} ]]; then # this machine's own certificates, behind a proxy
  arguments+=(--volume "$SSL_CERT_FILE:/ca.pem:ro" --env SSL_CERT_FILE=/ca.pem --env PIP_CERT=/ca.pem)
fi

podman run "${arguments[@]}" "$base" bash -euc '
  # Debian splits these off its Python; the base has them for its own ends.
  rm -rf /opt/python /opt/_internal /usr/lib/python3*/ensurepip /usr/share/python-wheels
  for absent in pip pip3 nox uv cc gcc clang cmake ninja make docker podman; do
    if command -v "$absent"; then echo "the fresh machine has $absent"; exit 1; fi
  done
  if python3 -c "import pip"; then echo "the fresh machine has pip"; exit 1; fi
  test -e /usr/lib/python3.11/EXTERNALLY-MANAGED
  git config --global --add safe.directory /origin
  git clone --quiet /origin /checkout
  cd /checkout
  for command in "$@"; do
    echo "\$ $command"
    $command
  done
  git diff --exit-code && test -z "$(git status --porcelain)"
' fresh "${commands[@]}"
