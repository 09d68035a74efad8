//! A client that asks a node all the time, and notes each answer.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::Value;
use vault_bake::wait::{Interrupt, pause};

/// The pause between two requests.
const PAUSE: Duration = Duration::from_millis(50);

/// A request and its answer: a status with its error or the node of its redirect, or a failure.
#[derive(Clone, Debug)]
pub struct Sample {
    pub sent: Instant,
    pub answered: Instant,
    pub answer: String,
}

/// The samples of a node, until the end of the probe.
pub struct Probe {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
}

impl Probe {
    /// Asks with a new connection each time, or with one that stays open.
    pub fn start(client: Client, url: String, token: &str) -> Self {
        let probe = Self {
            samples: Arc::default(),
            stop: Arc::default(),
        };
        let (samples, stop) = (probe.samples.clone(), probe.stop.clone());
        let token = token.to_owned();
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let request = client.request(Method::GET, &url);
                let answer = match request.header("x-vault-token", &token).send().await {
                    Ok(answer) => described(answer).await,
                    Err(error) => failure(&error),
                };
                let answered = Instant::now();
                let sample = Sample {
                    sent,
                    answered,
                    answer,
                };
                samples.lock().expect("samples").push(sample);
                pause(PAUSE, &Interrupt::default()).await.expect("no end");
            }
        });
        probe
    }

    /// Returns the samples after `since`.
    pub fn since(&self, since: Instant) -> Vec<Sample> {
        let samples = self.samples.lock().expect("samples");
        let after = samples.iter().filter(|sample| sample.sent >= since);
        after.cloned().collect()
    }

    /// Returns the answers to requests of this time.
    pub fn answers(&self, since: Instant, seconds: Range<f64>) -> BTreeSet<String> {
        let within = |sample: &Sample| seconds.contains(&(sample.sent - since).as_secs_f64());
        let samples = self.since(since).into_iter();
        samples.filter(within).map(|sample| sample.answer).collect()
    }

    /// Returns the longest time between two successes around or after `since`.
    pub fn gap(&self, since: Instant) -> Duration {
        let around = since.checked_sub(Duration::from_secs(1)).expect("a time");
        let samples = self.since(around);
        let ok = samples.iter().filter(|sample| sample.answer == "200");
        let ok: Vec<Instant> = ok.map(|sample| sample.answered).collect();
        let gaps = ok.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().expect("successes")
    }

    /// Returns the answers in order, each with its number and its first time.
    pub fn summary(&self, since: Instant) -> String {
        let mut runs: Vec<(String, usize, f64)> = Vec::new();
        for sample in self.since(since) {
            match runs.last_mut() {
                Some((answer, count, _)) if *answer == sample.answer => *count += 1,
                _ => {
                    let at = (sample.sent - since).as_secs_f64();
                    runs.push((sample.answer, 1, at));
                }
            }
        }
        let runs = runs
            .into_iter()
            .map(|(answer, count, at)| format!("{at:.2} s: {count} x {answer}"));
        runs.collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn described(answer: reqwest::Response) -> String {
    let status = answer.status().as_u16();
    if let Some(location) = answer.headers().get("location") {
        let location = location.to_str().unwrap_or_default();
        let node = location.split("/v1/").next().unwrap_or_default();
        return format!("{status} {node}");
    }
    let body: Value =
        serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default();
    match body["errors"][0].as_str() {
        Some(error) if status >= 400 => format!("{status} {}", error.trim()),
        _ => status.to_string(),
    }
}

fn failure(error: &reqwest::Error) -> String {
    let text = format!("{error:?}");
    if text.contains("ConnectionRefused") {
        return "refused".to_owned();
    }
    if error.is_timeout() {
        "timeout"
    } else {
        "broken"
    }
    .to_owned()
}
