use equicrypt_spec::{Architecture, Kind, Role, TensorSpec};

/// The gain that is folded into a linear layer: W diag(g) in place of W, where g is the gain of the norm whose output the
/// layer reads.
pub(crate) fn gain_folded_into(
    arch: &Architecture,
    role: Role,
    layer: Option<usize>,
) -> Option<String> {
    let reads =
        |kind: &Kind| matches!(kind, Kind::Gain { folds_into, .. } if folds_into.contains(&role));
    arch.rows
        .iter()
        .find(|row| reads(&row.kind))
        .map(|row| row.tensor_name(layer))
}

/// Whether the tensor is a gain that can be folded away.
pub(crate) fn is_foldable_gain(tensor: &TensorSpec) -> bool {
    matches!(tensor.row.kind, Kind::Gain { folds_into, .. } if !folds_into.is_empty())
}
