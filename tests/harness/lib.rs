//! Starts the built binaries.
