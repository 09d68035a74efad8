//! Records the arguments of all processes of this host, once or over time.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Collects arguments until it is stopped.
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<String>>>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    /// Stops, and returns the arguments.
    pub fn stop(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watching ends");
        let seen = self.seen.lock().expect("a list");
        seen.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Starts to collect the arguments of all processes.
pub fn watch_arguments() -> Watch {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let watching = (Arc::clone(&stop), Arc::clone(&seen));
    let thread = std::thread::spawn(move || {
        while !watching.0.load(Ordering::Relaxed) {
            let now = command_lines();
            let mut seen = watching.1.lock().expect("a list");
            seen.extend(now.lines().map(str::to_owned));
            drop(seen);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    Watch { stop, seen, thread }
}

/// Returns a line for each process.
pub fn command_lines() -> String {
    let entries = fs::read_dir("/proc").expect("a proc file system");
    let lines = entries.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " ") + "\n")
        .collect()
}
