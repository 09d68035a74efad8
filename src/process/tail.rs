//! Keeps the last lines of a program's output.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncRead;

use super::{LAST_LINES, split};

/// The last lines of a stream.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// Reads a stream to its end.
    pub async fn fill(self, stream: impl AsyncRead + Unpin) {
        let mut lines = split(stream);
        while let Ok(Some(line)) = lines.next_segment().await {
            let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if tail.len() == LAST_LINES {
                tail.pop_front();
            }
            tail.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    }

    /// Returns the last lines read so far.
    pub fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}
