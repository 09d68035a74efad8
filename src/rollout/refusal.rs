//! A reason not to begin a rollout, with its way out.

/// A reason not to begin a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub why: String,
    /// The way out, as an imperative.
    pub hint: String,
}
