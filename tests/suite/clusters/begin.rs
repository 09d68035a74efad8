//! What is checked before a cluster begins.
