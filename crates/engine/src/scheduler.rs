//! Many requests, one forward pass.
