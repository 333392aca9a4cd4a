//! OWNER: the key, its schedule, the secret vocabulary and the rewrite of a checkpoint.
