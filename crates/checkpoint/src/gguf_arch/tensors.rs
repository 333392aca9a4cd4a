use super::{Facts, Field, GgufArch, How, TiedHead, When};

/// One tensor of a GGUF file and what it is in Hugging Face's.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) gguf: String,
    /// Slowest axis first.
    pub(crate) gguf_shape: Vec<usize>,
    /// One name, or one for each expert.
    pub(crate) hf: Vec<String>,
    /// Of each of them.
    pub(crate) hf_shape: Vec<usize>,
    pub(crate) how: How,
}

/// The tensors of a model, in Hugging Face's order; or the GGUF name of one that is too large.
///
/// `prefix` stands before each of Hugging Face's names, but for the head's.
pub(crate) fn pairs(arch: &GgufArch, facts: &Facts, prefix: &str) -> Result<Vec<Pair>, String> {
    let rows: Vec<_> = arch
        .rows()
        .filter(|row| match row.when {
            When::Always => true,
            When::AttentionBias => facts.attention_bias,
            When::MlpBias => facts.mlp_bias,
        })
        .collect();
    let mut pairs = Vec::new();
    for group in rows.chunk_by(|a, b| a.of_layer() == b.of_layer()) {
        let layered = group.first().is_some_and(|row| row.of_layer());
        let layers = if layered {
            facts.size(Field::Layers)
        } else {
            1
        };
        for layer in 0..layers {
            for row in group {
                pairs.push(row.pair(facts, prefix, layer)?);
            }
        }
    }
    let shape = [facts.vocab, facts.size(Field::Hidden)];
    let embedding = arch.embedding();
    let head = |hf: String| Pair {
        gguf: "output.weight".to_owned(),
        gguf_shape: shape.to_vec(),
        hf: vec![hf],
        hf_shape: shape.to_vec(),
        how: How::Same,
    };
    match (facts.tied, arch.head.tied) {
        (false, _) => pairs.push(head(arch.head.hf.to_owned())),
        (true, TiedHead::Copied) => pairs.push(head(format!("{prefix}{}", embedding.hf))),
        (true, TiedHead::Left | TiedHead::Always) => {}
    }
    Ok(pairs)
}

/// The prefix that the names of a folder have.
pub(crate) fn prefix_of(arch: &GgufArch, has: impl Fn(&str) -> bool) -> &'static str {
    let prefix = arch.optional_prefix;
    match has(&format!("{prefix}{}", arch.embedding().hf)) {
        true => prefix,
        false => "",
    }
}

/// Whether a tensor of Hugging Face's folder is a constant that the model class makes anew: masks
/// and frequencies that older versions saved.
pub(crate) fn ignorable(name: &str) -> bool {
    IGNORED.iter().any(|suffix| name.ends_with(suffix))
}

impl super::Row {
    pub(super) fn of_layer(&self) -> bool {
        self.gguf.contains("{}")
    }

    fn pair(&self, facts: &Facts, prefix: &str, layer: usize) -> Result<Pair, String> {
        let layer = layer.to_string();
        let gguf = self.gguf.replace("{}", &layer);
        let dims = self.shape.iter().map(|dim| facts.dim(*dim));
        let hf_shape: Option<Vec<usize>> = dims.collect();
        let hf_shape = hf_shape.filter(|shape| {
            let product = shape
                .iter()
                .try_fold(1usize, |len, dim| len.checked_mul(*dim));
            product.is_some_and(|len| len as u64 <= MAX_VALUES)
        });
        let hf_shape = hf_shape.ok_or_else(|| gguf.clone())?;
        let name = format!("{prefix}{}", self.hf.replace("{}", &layer));
        let experts = facts.size(Field::Experts);
        let (hf, gguf_shape) = match self.how {
            How::Stack => (
                (0..experts)
                    .map(|expert| name.replace("{e}", &expert.to_string()))
                    .collect(),
                [&[experts], &hf_shape[..]].concat(),
            ),
            How::Transpose => (vec![name], hf_shape.iter().rev().copied().collect()),
            _ => (vec![name], hf_shape.clone()),
        };
        Ok(Pair {
            gguf,
            gguf_shape,
            hf,
            hf_shape,
            how: self.how,
        })
    }
}

const IGNORED: [&str; 5] = [
    ".rotary_emb.inv_freq",
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
];
/// Far more than any tensor in use; keeps sizes in bytes inside 64 bits.
const MAX_VALUES: u64 = 1 << 48;
