#!/usr/bin/env bash
# Installs with apt what building and the demo need and this machine lacks, with the argument "test" what the tests
# need besides, with "bench" what the comparison with others needs, with "packages" what the tests of packages need, with
# "host" what virtual hosts need; says nothing if all is there. Whatever provides a command will do: where Docker brought its
# own containerd, that one stays.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need containerd containerd
need runc runc
need nft nftables
need ip iproute2
need nsenter util-linux
need bash-static bash-static
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
# A busybox may be there that is not static.
dpkg-query -W -f '${db:Status-Status}' busybox-static 2>/dev/null | grep -qx installed || missing+=(busybox-static)

if [ "${1:-}" = test ]; then
  need debootstrap debootstrap
  need npm npm # gets the Node.js server of the contract suite
  need systemd-analyze systemd # checks the unit files; it need not run
  need rsyslogd rsyslog # receives log lines in a test
  ls /usr/lib/*/rsyslog/lmnsd_gtls.so >/dev/null 2>&1 || missing+=(rsyslog-gnutls)
  need iperf3 iperf3 # a benchmark measures with it
  need iptables-legacy iptables # builds walls that dynos are to be told of
  need mkfs.ext4 e2fsprogs
  need packer packer # checks the template of machine images
  need shellcheck shellcheck # and its script
  need gcc gcc # the race detector links with it
  [ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
fi

if [ "${1:-}" = bench ]; then # Docker is unpacked there, not installed: its package would start a daemon
  need podman podman
  need crun crun
  need iptables iptables # for the networks of both
  [ -e /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
  need gcc gcc # compiles what is started
  [ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
fi

if [ "${1:-}" = packages ]; then
  need lintian lintian
  need rpm rpm
  need rpmlint rpmlint
  need shellcheck shellcheck
  need man man-db
  need mmdebstrap mmdebstrap
  need promtool prometheus # checks the rules for alerts
  need systemd-analyze systemd
fi

if [ "${1:-}" = host ]; then
  need qemu-system-x86_64 qemu-system-x86
  need qemu-img qemu-utils
  need mmdebstrap mmdebstrap
  need mkfs.ext4 e2fsprogs
  need gcc gcc # compiles what is started there
  [ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
fi

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "needed, and only root can install it: apt-get install ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends "${missing[@]}"
