mod ground;
mod tidy;
