# shellcheck shell=bash
# Sourced by the other scripts: where things are. Build products and caches stay outside the
# checkout, so that a fresh clone's second run is incremental.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ -z "${GROUNDCREW_CACHE:-}" ]; then
  if [ "$(id -u)" = 0 ]; then
    GROUNDCREW_CACHE=/var/cache/groundcrew-ci
  else
    GROUNDCREW_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/groundcrew
  fi
fi
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$GROUNDCREW_CACHE/target}
export GROUNDCREW_CACHE CARGO_TARGET_DIR
# The checkout stays free of bytecode.
export PYTHONDONTWRITEBYTECODE=1

# Whether tests/container can run: it boots a Debian, which takes rights that a container in CI may
# not have.
can_run_container() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null &&
    unshare --mount --pid --net --fork true 2>/dev/null
}

# Whether tests/vm can run: it boots Debian's kernel, and makes a Debian for it.
can_run_vm() { [ "$(id -u)" = 0 ] && [ "$(uname -m)" = x86_64 ] && command -v apt-get >/dev/null; }

cd "$checkout" || exit
