mod provision;
mod ssh;
mod support;
