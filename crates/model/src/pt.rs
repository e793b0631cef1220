//! The `.pt` file: an ordinary PyTorch archive, written and read as data.
