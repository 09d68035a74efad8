# Makes a bootable root file system of root.tar and writes it into the third partition of disk.raw.
#
# Runs as root, or under fakeroot, in the folder of both files. In the environment: MKE2FS (the program), ROOT_UUID and
# HASH_SEED (of the file system), ROOT_OFFSET (in bytes), ROOT_SIZE_KIB, ROOT_LABEL, and SOURCE_DATE_EPOCH (the newest
# time of any file).
set -eu

mkdir root
# Device nodes come from devtmpfs at boot.
tar --extract --file root.tar --directory root --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*'

# What makes a machine that machine must not be shared by all that start from this disk.
rm -f root/etc/ssh/ssh_host_*_key root/etc/ssh/ssh_host_*_key.pub
rm -f root/var/lib/dbus/machine-id root/var/lib/systemd/random-seed root/var/lib/systemd/credential.secret
: > root/etc/machine-id
echo localhost > root/etc/hostname
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > root/etc/hosts
rm -rf root/var/log/apt/* root/var/log/*.log root/var/cache/ldconfig/aux-cache

printf 'UUID=%s / ext4 errors=remount-ro,x-systemd.growfs 0 1\n' "$ROOT_UUID" > root/etc/fstab
# The root partition is the last one; systemd-repart lets it take what a larger disk has.
mkdir -p root/etc/repart.d
printf '[Partition]\nType=root\n' > root/etc/repart.d/50-root.conf

mkdir -p root/etc/systemd/network
printf '[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n' > root/etc/systemd/network/80-dhcp.network
# The packages' copy of this file comes from the computer that the base is made on.
rm -f root/etc/.resolv.conf.systemd-resolved.bak
ln -sf /run/systemd/resolve/stub-resolv.conf root/etc/resolv.conf
enable() {
    mkdir -p "root/etc/systemd/system/$2.wants"
    ln -sf "/lib/systemd/system/$1" "root/etc/systemd/system/$2.wants/$1"
}
enable systemd-networkd.service multi-user.target
enable systemd-networkd.socket sockets.target
enable systemd-networkd-wait-online.service network-online.target
enable systemd-resolved.service sysinit.target
ln -sf /lib/systemd/system/systemd-networkd.service root/etc/systemd/system/dbus-org.freedesktop.network1.service
ln -sf /lib/systemd/system/systemd-resolved.service root/etc/systemd/system/dbus-org.freedesktop.resolve1.service

# GRUB follows the links /vmlinuz and /initrd.img, which the kernel packages keep pointing at the newest kernel.
for link in vmlinuz initrd.img; do
    if [ ! -e "root/$link" ]; then
        echo "the packages made no /$link: they bring no kernel" >&2
        exit 1
    fi
done
mkdir -p root/boot/grub
arguments="root=UUID=$ROOT_UUID ro console=tty0 console=ttyS0,115200 quiet systemd.show_status=true"
echo "$arguments" > arguments
cat > root/boot/grub/grub.cfg <<EOF
set timeout=0
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
menuentry linux {
    linux /vmlinuz $arguments
    initrd /initrd.img
}
EOF

cp -L root/vmlinuz vmlinuz
cp -L root/initrd.img initrd.img
find root -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

export E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH"
"$MKE2FS" -q -F -t ext4 -d root -L "$ROOT_LABEL" -U "$ROOT_UUID" -m 1 \
    -E "offset=$ROOT_OFFSET,hash_seed=$HASH_SEED,root_owner=0:0,nodiscard,lazy_itable_init=1" \
    disk.raw "${ROOT_SIZE_KIB}k"
rm -rf root
