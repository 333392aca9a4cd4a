//! PUBLIC: what a model is, and what a host may know.
