//! BLIND: token ids in, token ids out, over HTTP; it cannot name a key.
