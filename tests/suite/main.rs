mod ground;
mod tidy;
mod qemu;
