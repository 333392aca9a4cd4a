use std::sync::Arc;

use equicrypt_ring::Residues;

/// What passed between the owner and the hosts for some vectors of one layer, after both answers were found right.
pub struct Seen<'a> {
    /// The layer's number, in the order of the forward pass.
    pub layer: usize,
    /// Its name, for people.
    pub name: &'a str,
    /// All that B was told of the masks: their counters.
    pub to_b: &'a [u64],
    /// x - r, all that A was sent.
    pub to_a: &'a Residues,
    /// W (x - r)
    pub from_a: &'a Residues,
    /// W r
    pub from_b: &'a Residues,
}

/// Somebody on the owner's side who looks at it.
pub(crate) type Watcher = Arc<dyn Fn(&Seen<'_>) + Send + Sync>;
