# shellcheck shell=bash
# Sourced by the tests that boot a Debian with a real systemd in a container: tests/container and
# tests/provision. They set scratch, a directory that goes at the end.

# shellcheck disable=SC2154 # scratch is theirs.
machine=groundcrew-$$
cgroups=()

# What a container leaves that was interrupted, and $scratch.
clean_up() {
  local group
  for group in "${cgroups[@]}"; do
    # What is killed is gone a moment later.
    for _ in {1..50}; do
      grep -hr --include=cgroup.procs . "$group" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
      find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
      if [ ! -d "$group" ]; then break; fi
      sleep 0.1
    done
  done
  rm -rf "$scratch"
}

# A Debian with these packages. Answers names with what the host has, which the container cannot reach.
make_debian() { # PACKAGES DIRECTORY
  mmdebstrap --quiet --variant=minbase --include="$1" --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$2" >"$scratch/build.log" 2>&1 ||
    { tail -20 "$scratch/build.log"; return 1; }
  : >"$2/etc/machine-id"
  ln -sf /dev/null "$2/etc/systemd/system/systemd-resolved.service"
}

# A group of its own in each hierarchy, so that two containers do not share nspawn's.
own_cgroups() {
  local controllers path base
  while IFS=: read -r _ controllers path; do
    base=/sys/fs/cgroup/${controllers#name=}
    [ -n "$controllers" ] || [ ! -d /sys/fs/cgroup/unified ] || base=/sys/fs/cgroup/unified
    [ -d "$base" ] || continue
    base=$base${path%/}/$machine
    mkdir "$base"
    cgroups+=("$base")
    # A cpuset takes no process before it has cores and memory.
    for file in cpuset.cpus cpuset.mems; do
      if [[ $controllers == *cpuset* ]]; then cat "$(dirname "$base")/$file" >"$base/$file"; fi
    done
  done </proc/self/cgroup
}

enter_cgroups() {
  local group
  for group in "${cgroups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
}

# What the container's kernel would do: until it is powered off.
boot() { # ROOT WITHIN_SECONDS OPTION...
  local root=$1 within=$2
  shift 2
  SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout --kill-after=10 "$within" \
    systemd-nspawn --quiet --directory="$root" --machine="$machine" --boot --register=no \
    --keep-unit --private-users=no --private-network --link-journal=no --resolv-conf=off \
    --timezone=off --console=pipe "$@"
}
