//! How QEMU emulates processors.

/// The value of `-cpu`.
///
/// It turns off three features that only help real processors. With `erms` and `fsrm` the guest
/// copies memory with one instruction that QEMU translates to a loop over bytes. With `la57` each
/// page walk has one more level.
pub(in crate::platform::qemu::machine) const FLAGS: &str = "max,erms=off,fsrm=off,la57=off";

/// The value of `-accel` with a thread for each processor.
pub(in crate::platform::qemu::machine) const THREADS: &str = "tcg,thread=multi,tb-size=512";

/// The value of `-accel` with one thread for all processors.
pub(in crate::platform::qemu::machine) const ONE_THREAD: &str = "tcg,thread=single,tb-size=512";

/// The first version, major and minor, that runs processors in threads of their own without running
/// old code of the guest's kernel.
///
/// With a thread for each processor, an older QEMU may run code that the kernel has just changed:
/// <https://bugzilla.redhat.com/show_bug.cgi?id=2216496>. With the kernel of Debian 13, some boots
/// of a hundred ended so.
const THREADS_SINCE: (u32, u32) = (8, 1);

/// Whether a QEMU may run processors in threads of their own, by what it prints of its version, as
/// in `QEMU emulator version 7.2.22 (Debian …)`. Without a number, it may not.
pub fn may_use_threads(printed: &str) -> bool {
    let mut words = printed.split_whitespace();
    let version = words
        .find(|word| *word == "version")
        .and_then(|_| words.next());
    let mut numbers = version.unwrap_or_default().split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= THREADS_SINCE,
        _ => false,
    }
}
