//! Azure without Azure.

mod door;
