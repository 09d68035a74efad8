//! Tests against real components.

mod lock;
