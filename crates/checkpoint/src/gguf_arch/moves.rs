use super::{Facts, Field, How, Pair};

/// One rectangle of values to carry from one tensor to another.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) from: String,
    /// The first value, counted in the source tensor.
    pub(crate) from_start: usize,
    pub(crate) to: String,
    /// The first value, counted in the target tensor.
    pub(crate) to_start: usize,
    /// In the target.
    pub(crate) rows: usize,
    /// In the target.
    pub(crate) row_len: usize,
    pub(crate) order: Order,
    /// What is added to every value.
    pub(crate) plus: f32,
}

/// Where a row of the target is in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// In its place.
    Same,
    /// `h D + 2 i + j` is `h D + j D/2 + i`, for heads h of this many rows D.
    Interleave(usize),
    /// The inverse.
    Deinterleave(usize),
    /// Row `(part, head, i)` is `(head, part, i)`, with three parts and heads of `rows` rows.
    SplitQkv { heads: usize, rows: usize },
    /// The inverse.
    JoinQkv { heads: usize, rows: usize },
    /// It is a column.
    Transpose,
}

/// From Hugging Face's tensors to one of GGUF.
pub(crate) fn export_moves(pair: &Pair, facts: &Facts) -> Vec<Move> {
    let (rows, row_len) = rectangle(&pair.gguf_shape);
    let rows = rows / pair.hf.len().max(1);
    let parts = pair.hf.iter().enumerate();
    parts
        .map(|(index, hf)| Move {
            from: hf.clone(),
            from_start: 0,
            to: pair.gguf.clone(),
            to_start: index * rows * row_len,
            rows,
            row_len,
            order: order(pair.how, facts, true),
            plus: if pair.how == How::PlusOne { 1.0 } else { 0.0 },
        })
        .collect()
}

/// From one of GGUF's tensors to Hugging Face's.
pub(crate) fn import_moves(pair: &Pair, facts: &Facts) -> Vec<Move> {
    let (rows, row_len) = rectangle(&pair.hf_shape);
    let parts = pair.hf.iter().enumerate();
    parts
        .map(|(index, hf)| Move {
            from: pair.gguf.clone(),
            from_start: index * rows * row_len,
            to: hf.clone(),
            to_start: 0,
            rows,
            row_len,
            order: order(pair.how, facts, false),
            plus: if pair.how == How::PlusOne { -1.0 } else { 0.0 },
        })
        .collect()
}

fn order(how: How, facts: &Facts, export: bool) -> Order {
    let rows = facts.head_dim;
    let heads = facts.size(Field::Heads);
    match (how, export) {
        (How::Same | How::PlusOne | How::Stack, _) => Order::Same,
        (How::Interleave, true) => Order::Interleave(rows),
        (How::Interleave, false) => Order::Deinterleave(rows),
        (How::SplitQkv, true) => Order::SplitQkv { heads, rows },
        (How::SplitQkv, false) => Order::JoinQkv { heads, rows },
        (How::Transpose, _) => Order::Transpose,
    }
}

/// Rows and their length. A vector is a column where its entries change places like rows, which
/// costs nothing where they do not: a block of it is many rows.
fn rectangle(shape: &[usize]) -> (usize, usize) {
    match shape.split_last() {
        None => (1, 1),
        Some((len, [])) => (*len, 1),
        Some((row_len, outer)) => (outer.iter().product(), *row_len),
    }
}
