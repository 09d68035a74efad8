//! Machines that die, and several at once.
