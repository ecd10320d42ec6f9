#!/usr/bin/env bash
# Makes a host of dynos out of a fresh Debian or Amazon Linux: provision.sh DIR, as root. DIR holds packages/ (dynod's
# deb or rpm), files/ (which lie beside this script) and perhaps stacks/ (OCI archives). DIR is removed at the end, and so
# is all that would make two hosts of one image alike.
set -euo pipefail

from=${1:?provision.sh DIR}
[ "$(id -u)" = 0 ] || { echo "provision.sh: must run as root" >&2; exit 1; }

# place SOURCE DESTINATION puts a file where everyone may read it.
place() { install -D -m 0644 "$from/$1" "$2"; }

wait_for_boot() {
  command -v cloud-init >/dev/null || return 0
  cloud-init status --wait >/dev/null || echo "provision.sh: cloud-init has complained" >&2
}

configure_host() {
  place files/sysctl.conf /etc/sysctl.d/60-dynod.conf
  place files/modules.conf /etc/modules-load.d/dynod.conf
  place files/journald.conf /etc/systemd/journald.conf.d/dynod.conf
  place files/containerd.toml /etc/containerd/config.toml
}

install_packages() {
  if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update
    # containerd's configuration is there already, and stays.
    apt-get install --yes --no-install-recommends -o Dpkg::Options::=--force-confold \
      "$from"/packages/*_"$(dpkg --print-architecture)".deb ca-certificates
    apt-get clean
    rm -rf /var/lib/apt/lists/*
  else
    dnf install --assumeyes --setopt=install_weak_deps=False "$from"/packages/*."$(uname -m)".rpm ca-certificates
    dnf clean all
  fi
}

# preload_stacks names each archive by its file's name in the configuration.
preload_stacks() {
  local stack list=
  for stack in "$from"/stacks/*.tar; do
    [ -e "$stack" ] || return 0
    place "stacks/${stack##*/}" "/usr/share/dynod/stacks/${stack##*/}"
    list+="\"$(basename "$stack" .tar)\" = \"/usr/share/dynod/stacks/${stack##*/}\""$'\n'
  done
  install -d -m 0755 /etc/dynod/conf.d
  printf '[artifacts.stacks]\n%s' "$list" >/etc/dynod/conf.d/10-stacks.toml
  dynod config check
}

# enable_services has them start with the instance, but not run here.
enable_services() {
  systemctl enable containerd.service dynod.service
  systemctl stop dynod.socket dynod.service dynod-capture.service containerd.service
}

# forget removes identities, keys and traces of the build.
forget() {
  rm -rf "$from" /var/lib/dynod /var/lib/containerd /var/log/journal/*
  rm -f /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys /root/.*_history /home/*/.*_history
  if command -v cloud-init >/dev/null; then cloud-init clean --logs --seed; fi
  : >/etc/machine-id
  rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed
  sync
}

wait_for_boot
configure_host
install_packages
preload_stacks
enable_services
forget
