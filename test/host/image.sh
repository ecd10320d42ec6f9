#!/usr/bin/env bash
# Makes what a host boots from, of apt's packages of the day: image.sh RELEASE DIR AUTHORIZED-KEY. DIR gets disk, vmlinuz and
# host.pub, the key that the host is known by.
set -euo pipefail
release=$1 dir=$2 authorized=$3
root=$dir/root

packages=systemd-sysv,udev,dbus,openssh-server,ca-certificates,containerd,runc,nftables,iproute2,procps,linux-image-cloud-amd64
[ "$release" = bookworm ] || packages+=,crun
# The clock of who tests may be ahead of a mirror that is seldom refreshed. Nothing boots by an initial RAM disk: drivers of disk and
# file system are built into the kernel.
INITRD=No mmdebstrap --quiet --variant=minbase --include=$packages --aptopt='Acquire::Check-Valid-Until "false"' "$release" "$root"

install -d -m 0700 "$root/root/.ssh"
echo "$authorized" >"$root/root/.ssh/authorized_keys"
install -d "$root/var/log/journal" "$root/etc/systemd/network"
echo "/dev/nvme0n1 / ext4 defaults 0 1" >"$root/etc/fstab"
rm -f "$root/etc/resolv.conf"
echo "nameserver 10.0.2.3" >"$root/etc/resolv.conf"
cat >"$root/etc/systemd/network/10-host.network" <<END
[Match]
MACAddress=52:54:00:00:00:01
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
END
systemctl --root="$root" --quiet enable systemd-networkd.service
cat >"$root/etc/systemd/network/10-wire.link" <<END
[Match]
MACAddress=52:54:00:00:01:01 52:54:00:00:01:02
[Link]
Name=wire0
END
# Nothing runs by the clock, and nobody waits for a network that is not whole.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-networkd-wait-online.service; do
	systemctl --root="$root" --quiet mask "$unit"
done

cp "$root"/etc/ssh/ssh_host_ed25519_key.pub "$dir/host.pub"
cp "$root"/usr/lib/modules/*/vmlinuz "$dir/vmlinuz" 2>/dev/null || cp "$root"/boot/vmlinuz-* "$dir/vmlinuz"
truncate -s 8G "$dir/disk"
mkfs.ext4 -q -F -d "$root" "$dir/disk"
rm -rf "$root"
