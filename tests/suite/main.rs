mod identity;
mod manifest;
mod store;
