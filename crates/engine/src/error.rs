use thiserror::Error;

/// What can go wrong while a model is loaded or run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {}
