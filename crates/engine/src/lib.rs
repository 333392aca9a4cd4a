//! BLIND: the forward pass, the KV cache, sampling and batching; it cannot name a key.
