//! Prints events: bars on a terminal, plain lines elsewhere, JSON lines with `--json`.
//! Writes all events of a run to its log file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use vault_bake::event::{Event, Sink, Stage};
use vault_bake::terminal::{counted, visible, visible_json, visible_line};

use crate::clock::clock;
use crate::output::{eprint_line, print_json};

/// The form in which events are printed.
enum Format {
    /// A bar for each running stage, on standard error.
    Bars {
        screen: MultiProgress,
        stages: HashMap<Stage, ProgressBar>,
    },
    /// A line when a stage or step ends, and one in a while during a long wait, on standard error.
    Lines {
        /// The number of intervals of the present wait that have a line.
        waited: u64,
    },
    /// One JSON object a line, on standard output.
    Json,
}

/// The time that a stage or a step took.
#[derive(Clone)]
pub struct Timing {
    /// Name of the stage, or of the step after two spaces.
    pub name: String,
    /// Duration in milliseconds.
    pub elapsed_ms: u64,
}

struct State {
    format: Format,
    log: Option<File>,
    log_path: Option<PathBuf>,
    running: Vec<Stage>,
    timings: Vec<Timing>,
}

/// The event sink of the program. Clones share their state.
#[derive(Clone)]
pub struct Report {
    logs: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Report {
    /// Creates a sink that prints events, as JSON if `json`, and writes log files below `logs`.
    pub fn new(json: bool, logs: &Path) -> Self {
        let format = if json {
            Format::Json
        } else if io::stderr().is_terminal() {
            Format::Bars {
                screen: MultiProgress::new(),
                stages: HashMap::new(),
            }
        } else {
            Format::Lines { waited: 0 }
        };
        let state = State {
            format,
            log: None,
            log_path: None,
            running: Vec::new(),
            timings: Vec::new(),
        };
        Self {
            logs: logs.to_owned(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Returns the log file of the run, if a run has started.
    pub fn log_path(&self) -> Option<PathBuf> {
        self.state().log_path.clone()
    }

    /// Returns the durations of stages and steps, in the order in which they ended.
    pub fn timings(&self) -> Vec<Timing> {
        self.state().timings.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Report {
    fn emit(&self, event: &Event) {
        let mut state = self.state();
        if let Event::RunStarted { run, .. } = event {
            state.open_log(&self.logs, run);
        }
        state.write_log(event);
        state.record_time(event);
        state.print(event);
    }
}

impl State {
    fn open_log(&mut self, logs: &Path, run: &str) {
        let path = logs.join(format!("{run}.log"));
        // A run continues without a log if the file cannot be created. It then names no log.
        self.log = fs::create_dir_all(logs)
            .and_then(|()| File::create(&path))
            .ok();
        self.log_path = self.log.is_some().then_some(path);
    }

    fn write_log(&mut self, event: &Event) {
        if matches!(event, Event::Progress { .. }) {
            return;
        }
        if let Some(log) = &mut self.log {
            let now = clock();
            // A full disk must not end a run because of its log.
            let _ = writeln!(log, "{now:.3} {}", log_line(event));
        }
    }

    fn record_time(&mut self, event: &Event) {
        match event {
            Event::StageStarted { stage } => self.running.push(*stage),
            Event::StageFinished {
                stage, elapsed_ms, ..
            } => {
                self.running.retain(|running| running != stage);
                self.timings.push(Timing {
                    name: stage.to_string(),
                    elapsed_ms: *elapsed_ms,
                });
            }
            Event::StepFinished {
                step, elapsed_ms, ..
            } => {
                self.timings.push(Timing {
                    name: format!("  {step}"),
                    elapsed_ms: *elapsed_ms,
                });
            }
            _ => {}
        }
    }

    fn print(&mut self, event: &Event) {
        let current = self.running.last().copied();
        match &mut self.format {
            Format::Json => {
                let mut value = serde_json::to_value(event).unwrap_or_default();
                value["time"] = clock().to_string().into();
                print_json(&value);
            }
            Format::Lines { waited } => {
                if let Some(line) = lasting_line(event).or_else(|| waiting_line(event, waited)) {
                    eprint_line(&line);
                }
            }
            Format::Bars { screen, stages } => update_bars(screen, stages, current, event),
        }
    }
}

fn update_bars(
    screen: &MultiProgress,
    stages: &mut HashMap<Stage, ProgressBar>,
    current: Option<Stage>,
    event: &Event,
) {
    let current_bar = current.and_then(|stage| stages.get(&stage)).cloned();
    let set_message = |message: String| {
        if let Some(bar) = &current_bar {
            bar.set_message(visible_line(&message).into_owned());
        }
    };
    match event {
        Event::StageStarted { stage } => {
            let style =
                ProgressStyle::with_template("{spinner} {prefix:10} {elapsed:>4}  {wide_msg}");
            let bar = screen.add(ProgressBar::new_spinner());
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.set_prefix(stage.to_string());
            bar.enable_steady_tick(Duration::from_millis(120));
            stages.insert(*stage, bar);
        }
        Event::StageFinished { stage, .. } => {
            if let Some(bar) = stages.remove(stage) {
                bar.finish_and_clear();
            }
        }
        Event::StepStarted { index, count, step } => set_message(format!("{index}/{count} {step}")),
        Event::Output { source, line } => set_message(format!("{source}: {line}")),
        Event::Waiting {
            what, last_seen, ..
        } => set_message(format!("waiting for {what}: {last_seen}")),
        Event::Progress {
            what,
            done_bytes,
            total_bytes,
        } if total_bytes.is_none_or(|total| total >= MIN_SHOWN_BYTES) => {
            set_message(progress(what, *done_bytes, *total_bytes));
        }
        Event::CheckFinished { check, .. } => set_message(format!("checked {check}")),
        _ => {}
    }
    if let Some(line) = lasting_line(event) {
        // If the terminal is closed, the log still has the line.
        let _ = screen.println(visible(&line));
    }
}

/// The interval between the lines of one wait, where no bar shows it.
const WAIT_LINE_MS: u64 = 30_000;

/// Returns a line for each interval of a wait. `waited` is the number of those with a line.
fn waiting_line(event: &Event, waited: &mut u64) -> Option<String> {
    let Event::Waiting {
        what,
        last_seen,
        elapsed_ms,
        ..
    } = event
    else {
        return None;
    };
    let intervals = elapsed_ms / WAIT_LINE_MS;
    let is_due = intervals > *waited;
    *waited = intervals;
    is_due.then(|| {
        let line = format!("  waited {} s for {what}: {last_seen}", elapsed_ms / 1000);
        visible_line(&line).into_owned()
    })
}

/// Smaller transfers end before their progress can be read; it would be "0 of 0 MiB".
const MIN_SHOWN_BYTES: u64 = 1 << 20;

fn progress(what: &str, done_bytes: u64, total_bytes: Option<u64>) -> String {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    match total_bytes {
        Some(total) => format!("{what}: {} of {} MiB", mib(done_bytes), mib(total)),
        None => format!("{what}: {} MiB", mib(done_bytes)),
    }
}

/// Returns the line that stays on the screen after an event. Most events have none.
fn lasting_line(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunStarted { run, subject } => format!("{subject} ({run})"),
        Event::StageFinished {
            stage,
            elapsed_ms,
            ok,
        } => {
            format!(
                "{:<10} {:>8}  {}",
                stage.to_string(),
                seconds(*elapsed_ms),
                if *ok { "done" } else { "failed" }
            )
        }
        Event::StepFinished {
            step,
            elapsed_ms,
            exit,
        } => {
            let result = if *exit == 0 {
                "done".to_owned()
            } else {
                format!("exit {exit}")
            };
            format!("  {step:<20} {:>8}  {result}", seconds(*elapsed_ms))
        }
        Event::RolloutStep {
            index,
            count,
            step,
            elapsed_ms,
            ok,
            requests,
            failed,
            longest_gap_ms,
        } => {
            let result = if *ok { "done" } else { "failed" };
            let felt = match (requests, failed) {
                (0, _) => String::new(),
                (_, 0) => format!("; longest gap {}", seconds(*longest_gap_ms)),
                (_, failed) => format!("; {} failed", counted(failed, "request")),
            };
            format!(
                "  {index:>2}/{count} {step}: {result} after {}{felt}",
                seconds(*elapsed_ms).trim_start()
            )
        }
        Event::CheckFinished {
            check,
            description,
            ok: false,
            diagnostics,
        } => {
            let lines = diagnostics.iter().map(|line| format!("\n    # {line}"));
            format!(
                "  not ok: {check}: {description}{}",
                lines.collect::<String>()
            )
        }
        Event::Note { message } => message.clone(),
        Event::Warning { message } => format!("warning: {message}"),
        Event::Recorded {
            image,
            version,
            manifest,
            artifact,
        } => format!("recorded {image}@{version} as {manifest}\n  {artifact}"),
        Event::TestFinished {
            passed: true,
            checks,
            ..
        } => format!("tested: all {checks} checks passed"),
        Event::TestFinished {
            checks,
            failed_checks,
            error,
            ..
        } => match error {
            Some(error) => format!("tested: {failed_checks} of {checks} checks failed; {error}"),
            None => format!("tested: {failed_checks} of {checks} checks failed"),
        },
        Event::Leftover { resource, reason } => format!("leftover: {resource} ({reason})"),
        _ => return None,
    })
}

fn log_line(event: &Event) -> String {
    match event {
        Event::Output { source, line } => visible_line(&format!("{source} | {line}")).into_owned(),
        other => visible_json(&serde_json::to_string(other).unwrap_or_default()).into_owned(),
    }
}

/// Formats milliseconds as seconds, such as `12.3 s`.
pub fn seconds(elapsed_ms: u64) -> String {
    format!("{}.{} s", elapsed_ms / 1000, elapsed_ms % 1000 / 100)
}
