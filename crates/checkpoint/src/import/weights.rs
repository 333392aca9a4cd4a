use std::collections::HashSet;

use rayon::prelude::*;

use super::llama::{LlamaParams, USE_FOLDER};
use crate::gguf::{GgmlType, GgufFile};
use crate::{CheckpointWriter, Dtype, Error, TensorHeader};

/// One tensor to carry over.
#[derive(Debug)]
pub(super) struct Row {
    from: String,
    to: String,
    kind: GgmlType,
    shape: Vec<usize>,
    order: Order,
}

/// How a tensor's rows lie in the GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As in Hugging Face's file.
    Same,
    /// With the two halves of each head of this many rows interleaved; see [`deinterleave`].
    Interleaved(usize),
}

impl Row {
    pub(super) fn header(&self) -> TensorHeader {
        TensorHeader::new(&self.to, Dtype::Bf16, &self.shape)
    }
}

/// The tensors of the model in Hugging Face's order, checked against the file both ways.
pub(super) fn rows(file: &GgufFile, params: &LlamaParams) -> Result<Vec<Row>, Error> {
    let broken = |problem| Error::Gguf {
        file: file.path().to_path_buf(),
        problem,
    };
    let mut expected = Vec::new();
    let width = |heads: usize| heads.checked_mul(params.head_dim);
    let (Some(q), Some(kv)) = (width(params.heads), width(params.kv_heads)) else {
        return Err(broken(format!("{} heads are too many", params.heads)));
    };
    let turned = Order::Interleaved(params.head_dim);
    let LlamaParams {
        hidden, ffn, vocab, ..
    } = *params;
    let mut add = |from: &str, to: &str, shape: &[usize], order| {
        expected.push((from.to_owned(), to.to_owned(), shape.to_vec(), order));
    };
    add(
        "token_embd.weight",
        "model.embed_tokens.weight",
        &[vocab, hidden],
        Order::Same,
    );
    for layer in 0..params.layers {
        let mut add = |from: &str, to: &str, shape: &[usize], order| {
            add(
                &format!("blk.{layer}.{from}"),
                &format!("model.layers.{layer}.{to}"),
                shape,
                order,
            )
        };
        add(
            "attn_norm.weight",
            "input_layernorm.weight",
            &[hidden],
            Order::Same,
        );
        for (from, to, out, inner, order, bias) in [
            (
                "attn_q",
                "self_attn.q_proj",
                q,
                hidden,
                turned,
                params.attention_bias,
            ),
            (
                "attn_k",
                "self_attn.k_proj",
                kv,
                hidden,
                turned,
                params.attention_bias,
            ),
            (
                "attn_v",
                "self_attn.v_proj",
                kv,
                hidden,
                Order::Same,
                params.attention_bias,
            ),
            (
                "attn_output",
                "self_attn.o_proj",
                hidden,
                q,
                Order::Same,
                params.attention_bias,
            ),
            (
                "ffn_gate",
                "mlp.gate_proj",
                ffn,
                hidden,
                Order::Same,
                params.mlp_bias,
            ),
            (
                "ffn_up",
                "mlp.up_proj",
                ffn,
                hidden,
                Order::Same,
                params.mlp_bias,
            ),
            (
                "ffn_down",
                "mlp.down_proj",
                hidden,
                ffn,
                Order::Same,
                params.mlp_bias,
            ),
        ] {
            add(
                &format!("{from}.weight"),
                &format!("{to}.weight"),
                &[out, inner],
                order,
            );
            if bias {
                add(
                    &format!("{from}.bias"),
                    &format!("{to}.bias"),
                    &[out],
                    order,
                );
            }
        }
        add(
            "ffn_norm.weight",
            "post_attention_layernorm.weight",
            &[hidden],
            Order::Same,
        );
    }
    add(
        "output_norm.weight",
        "model.norm.weight",
        &[hidden],
        Order::Same,
    );
    if !params.tied {
        add(
            "output.weight",
            "lm_head.weight",
            &[vocab, hidden],
            Order::Same,
        );
    }

    let known: HashSet<&str> = expected.iter().map(|(from, ..)| from.as_str()).collect();
    let tensors = &file.header().tensors;
    if let Some(tensor) = tensors
        .iter()
        .find(|tensor| !known.contains(tensor.name.as_str()))
    {
        return Err(Error::UnsupportedGguf {
            file: file.path().to_path_buf(),
            what: format!(
                "tensor {:?} is not part of a llama model as known here",
                tensor.name
            ),
            advice: USE_FOLDER,
        });
    }
    let mut rows = Vec::with_capacity(expected.len());
    for (from, to, shape, order) in expected {
        let tensor = file
            .tensor(&from)
            .ok_or_else(|| broken(format!("tensor {from:?} is missing")))?;
        if tensor.shape != shape {
            return Err(broken(format!(
                "tensor {from:?} has shape {:?}, but the metadata makes it {shape:?}",
                tensor.shape
            )));
        }
        rows.push(Row {
            from,
            to,
            kind: tensor.kind,
            shape,
            order,
        });
    }
    Ok(rows)
}

/// Reads, expands, reorders, rounds to bf16 and writes every row.
pub(super) fn convert(
    file: &GgufFile,
    rows: &[Row],
    writer: &CheckpointWriter,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), Error> {
    let total = rows.iter().filter_map(|row| row.header().byte_len()).sum();
    let mut done = 0;
    progress(done, total);
    for row in rows {
        let values: usize = row.shape.iter().product();
        let block = block_values(row);
        let starts: Vec<usize> = (0..values).step_by(block).collect();
        // A few blocks for each thread at a time, so that progress is seen inside large tensors.
        for starts in starts.chunks(4 * rayon::current_num_threads()) {
            let written: Result<Vec<u64>, Error> = starts
                .par_iter()
                .map(|start| convert_block(file, row, writer, *start, block.min(values - start)))
                .collect();
            done += written?.iter().sum::<u64>();
            progress(done, total);
        }
    }
    Ok(())
}

fn convert_block(
    file: &GgufFile,
    row: &Row,
    writer: &CheckpointWriter,
    start: usize,
    len: usize,
) -> Result<u64, Error> {
    let (block_values, block_bytes) = (row.kind.block_values(), row.kind.block_bytes());
    let mut stored = vec![0; len / block_values * block_bytes];
    file.read(
        &row.from,
        (start / block_values * block_bytes) as u64,
        &mut stored,
    )?;
    let mut values = vec![0.0; len];
    row.kind.dequantize(&stored, &mut values);
    if let Order::Interleaved(head) = row.order {
        let row_len = row.shape.get(1).copied().unwrap_or(1);
        values = deinterleave(&values, head, row_len);
    }
    let mut bytes = vec![0; len * Dtype::Bf16.size()];
    Dtype::Bf16.encode_f32(&values, &mut bytes);
    writer.write(&row.to, (start * Dtype::Bf16.size()) as u64, &bytes)?;
    Ok(bytes.len() as u64)
}

/// How many values to convert at once: whole heads where their rows move, else whole rows, and a
/// vector in one piece.
fn block_values(row: &Row) -> usize {
    let (Some(count), Some(row_len)) = (row.shape.first(), row.shape.get(1)) else {
        return row.shape.first().copied().unwrap_or(1).max(1);
    };
    let unit = match row.order {
        Order::Same => 1,
        Order::Interleaved(head) => head,
    };
    let unit_values = unit * row_len;
    let units = (TARGET_VALUES / unit_values.max(1)).clamp(1, count.div_ceil(unit).max(1));
    units * unit_values
}

/// `out[h D + j D/2 + i] = rows[h D + 2 i + j]` for head h, half j in {0, 1}, i in 0..D/2.
///
/// Rotary embedding turns pairs of coordinates. Hugging Face pairs coordinate i of a head with
/// i + D/2; the llama layout of GGUF pairs 2i with 2i + 1, and its converter moved the rows of
/// the query and key projections accordingly. The same permutation on both leaves every score.
fn deinterleave(rows: &[f32], head: usize, row_len: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for head_rows in rows.chunks(head * row_len) {
        for half in 0..2 {
            for pair in head_rows.chunks(2 * row_len) {
                out.extend_from_slice(&pair[half * row_len..(half + 1) * row_len]);
            }
        }
    }
    out
}

/// 4 MiB of f32.
const TARGET_VALUES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_return_to_their_halves() {
        // Two heads of six rows, each row marked with its place in Hugging Face's order.
        let stored = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11].map(|row| row as f32);
        let expected: Vec<f32> = (0..12).map(|row| row as f32).collect();
        assert_eq!(deinterleave(&stored, 6, 1), expected);
        let wide: Vec<f32> = stored.iter().flat_map(|row| [*row, row + 0.5]).collect();
        let expected: Vec<f32> = expected.iter().flat_map(|row| [*row, row + 0.5]).collect();
        assert_eq!(deinterleave(&wide, 6, 2), expected);
    }

    /// Turns coordinates `(a, b)` of each pair by `position / 50^(2 i / D)`.
    fn rope(vector: &[f32], position: f64, pair: impl Fn(usize) -> (usize, usize)) -> Vec<f64> {
        let mut out = vec![0.0; vector.len()];
        for i in 0..vector.len() / 2 {
            let (a, b) = pair(i);
            let angle = position / 50f64.powf(2.0 * i as f64 / vector.len() as f64);
            let (x, y) = (f64::from(vector[a]), f64::from(vector[b]));
            out[a] = x * angle.cos() - y * angle.sin();
            out[b] = x * angle.sin() + y * angle.cos();
        }
        out
    }

    #[test]
    fn scores_are_those_of_the_interleaved_layout() {
        const D: usize = 8;
        let q: Vec<f32> = (0..D).map(|i| (i * i) as f32 * 0.3 - 2.0).collect();
        let k: Vec<f32> = (0..D).map(|i| 1.0 - (i * 5 % 7) as f32).collect();
        let dot = |a: Vec<f64>, b: Vec<f64>| -> f64 { a.iter().zip(&b).map(|(x, y)| x * y).sum() };
        let adjacent = |i| (2 * i, 2 * i + 1);
        let halves = |i| (i, i + D / 2);
        let stored = dot(rope(&q, 9.0, adjacent), rope(&k, 4.0, adjacent));
        let (q, k) = (deinterleave(&q, D, 1), deinterleave(&k, D, 1));
        let imported = dot(rope(&q, 9.0, halves), rope(&k, 4.0, halves));
        assert!((stored - imported).abs() < 1e-12, "{stored} {imported}");
    }
}
