# shellcheck shell=bash
# Sourced by the other scripts: which distribution this is, and how packages are installed on it.

fail() { echo "${0##*/}: $*" >&2; exit 1; }

# shellcheck source=/dev/null
. /etc/os-release
case "$ID$VERSION_ID" in
  amzn2023) family=amazon ;;
  debian12) family=debian ;;
  *) fail "$PRETTY_NAME is not one of Amazon Linux 2023 and Debian 12" ;;
esac

case $(uname -m) in
  x86_64) debian_arch=amd64 node_arch=x64 ;;
  aarch64) debian_arch=arm64 node_arch=arm64 ;;
  *) fail "there is no Node and no agent for $(uname -m)" ;;
esac
export debian_arch node_arch

export DEBIAN_FRONTEND=noninteractive
install_packages() { # PACKAGE...
  case $family in
    amazon) dnf --quiet --assumeyes install "$@" ;;
    debian) apt-get -qq install --yes --no-install-recommends "$@" >/dev/null ;;
  esac
}

# Downloads, and trusts nothing but the digest. An attempt that fails is repeated.
download() { # URL SHA256 FILE
  curl --fail --silent --show-error --location --retry 5 --retry-connrefused --output "$3" "$1"
  echo "$2  $3" | sha256sum --check --quiet || fail "$1 is not what it should be"
}
