//! Tells people and programs what happens: bars on a terminal, plain lines elsewhere, JSON lines with `--json`, and
//! always a log file for each run.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use vault_bake::event::{Event, Sink, Stage};
use vault_bake::terminal::{visible, visible_json, visible_line};

use crate::output::{eprint_line, print_json};

/// How people see events.
enum Face {
    /// One moving line for each stage that runs.
    Bars {
        all: MultiProgress,
        stages: HashMap<Stage, ProgressBar>,
    },
    /// A line when a stage or step ends.
    Lines,
    /// One JSON object a line on standard output.
    Json,
}

struct State {
    face: Face,
    log: Option<File>,
    log_path: Option<PathBuf>,
    running: Vec<Stage>,
    timings: Vec<(String, u64)>,
}

/// The sink of the binary. Clones share their state.
#[derive(Clone)]
pub struct Report {
    logs: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Report {
    /// Reports to the terminal or as lines, or as JSON, and into a log file below `logs`.
    pub fn new(json: bool, logs: &Path) -> Self {
        let face = if json {
            Face::Json
        } else if io::stderr().is_terminal() {
            Face::Bars {
                all: MultiProgress::new(),
                stages: HashMap::new(),
            }
        } else {
            Face::Lines
        };
        let state = State {
            face,
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

    /// Where the log of the run is, once one has begun.
    pub fn log_path(&self) -> Option<PathBuf> {
        self.state().log_path.clone()
    }

    /// How long stages and steps took, in milliseconds, in the order in which they ended.
    pub fn timings(&self) -> Vec<(String, u64)> {
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
        state.keep_time(event);
        state.show(event);
    }
}

impl State {
    fn open_log(&mut self, logs: &Path, run: &str) {
        let path = logs.join(format!("{run}.log"));
        // A run is worth more than its log: without one it goes on, and says so by not naming it at the end.
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
            let at = crate::invocation::clock();
            // See `open_log`: a full disk must not end a run because of its log.
            let _ = writeln!(log, "{at:.3} {}", log_line(event));
        }
    }

    fn keep_time(&mut self, event: &Event) {
        match event {
            Event::StageStarted { stage } => self.running.push(*stage),
            Event::StageFinished {
                stage, elapsed_ms, ..
            } => {
                self.running.retain(|running| running != stage);
                self.timings.push((stage.to_string(), *elapsed_ms));
            }
            Event::StepFinished {
                step, elapsed_ms, ..
            } => {
                self.timings.push((format!("  {step}"), *elapsed_ms));
            }
            _ => {}
        }
    }

    fn show(&mut self, event: &Event) {
        let current = self.running.last().copied();
        match &mut self.face {
            Face::Json => {
                let mut value = serde_json::to_value(event).unwrap_or_default();
                value["time"] = crate::invocation::clock().to_string().into();
                print_json(&value);
            }
            Face::Lines => {
                if let Some(line) = lasting_line(event) {
                    eprint_line(&line);
                }
            }
            Face::Bars { all, stages } => show_bars(all, stages, current, event),
        }
    }
}

fn show_bars(
    all: &MultiProgress,
    stages: &mut HashMap<Stage, ProgressBar>,
    current: Option<Stage>,
    event: &Event,
) {
    let moving = current.and_then(|stage| stages.get(&stage)).cloned();
    let say = |message: String| {
        if let Some(bar) = &moving {
            bar.set_message(visible_line(&message).into_owned());
        }
    };
    match event {
        Event::StageStarted { stage } => {
            let style =
                ProgressStyle::with_template("{spinner} {prefix:10} {elapsed:>4}  {wide_msg}");
            let bar = all.add(ProgressBar::new_spinner());
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
        Event::StepStarted { index, count, step } => say(format!("{index}/{count} {step}")),
        Event::Output { source, line } => say(format!("{source}: {line}")),
        Event::Waiting {
            what, last_seen, ..
        } => say(format!("waiting for {what}: {last_seen}")),
        Event::Progress {
            what,
            done_bytes,
            total_bytes,
        } if total_bytes.is_none_or(|total| total >= LEAST_SHOWN_BYTES) => {
            say(progress(what, *done_bytes, *total_bytes));
        }
        Event::CheckFinished { check, .. } => say(format!("checked {check}")),
        _ => {}
    }
    if let Some(line) = lasting_line(event) {
        // The terminal is gone: nothing to be done about it, and the log has the line.
        let _ = all.println(visible(&line));
    }
}

/// Less than this is done before it is read, and would stay on the screen as "0 of 0 MiB".
const LEAST_SHOWN_BYTES: u64 = 1 << 20;

fn progress(what: &str, done_bytes: u64, total_bytes: Option<u64>) -> String {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    match total_bytes {
        Some(total) => format!("{what}: {} of {} MiB", mib(done_bytes), mib(total)),
        None => format!("{what}: {} MiB", mib(done_bytes)),
    }
}

/// The line that stays on the screen after an event; most leave none.
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
            let end = if *exit == 0 {
                "done".to_owned()
            } else {
                format!("exit {exit}")
            };
            format!("  {step:<20} {:>8}  {end}", seconds(*elapsed_ms))
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

/// Milliseconds as people read them: `12.3 s`.
pub fn seconds(elapsed_ms: u64) -> String {
    format!("{}.{} s", elapsed_ms / 1000, elapsed_ms % 1000 / 100)
}
