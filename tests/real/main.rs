mod qemu;
mod fixture_vault;
