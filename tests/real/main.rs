mod qemu;
