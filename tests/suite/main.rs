mod ground;
mod tidy;
mod qemu;
mod provision;
mod ssh;
mod support;
