//! AloePri, the published scheme that equicrypt is compared with: Lin et al., "Towards Privacy-Preserving LLM Inference via
//! Collaborative Obfuscation (Technical Report)", arXiv 2603.01499v1. Written from the paper's mathematics.
//!
//! With x a row of the residual stream, every part of the model reads x Q and writes y P for key matrices with P Q = I
//! (Algorithm 1), ids are permuted by a secret tau, noise is added to embedding and head (section 5.2.2), heads and neurons
//! are rotated, scaled and permuted (Algorithm 2, section 5.2.4), and RMSNorm's gain becomes one constant (section 5.2.5).
//!
//! Where the paper leaves a choice, or its listing cannot be meant as printed, this is what stands here:
//!
//! 1. *Algorithm 1, lines 10 and 14* sample columns of C from null(F^T) and rows of D from null(E). For P Q = I the *rows* of
//!    C and the *columns* of D must lie there. They are Gaussian combinations, with entries of variance 1/d, of an
//!    orthonormal basis; the paper gives no distribution. Line 15 stacks B^-1, F and D.
//! 2. *Key matrices* are drawn anew for each tensor, and for each head of attention, as Algorithm 2 (line 5) has it.
//! 3. *Algorithm 2, line 6* multiplies keys by Z_block^T where queries (line 7) have Z_block; the scores survive only if both
//!    have the same, and so they have here. R, H, Z_block and U are drawn for each key/value head, because the query heads of
//!    its group share it. One tau_group serves all groups of a layer.
//! 4. *H_qk and H_ffn* have no distribution in the paper: here a sign and a factor log-uniform in 1/2 ... 2.
//! 5. *BLOCKPERM* (line 14) never uses gamma, never advances t, and has an exponent that would square RoPE's frequencies if
//!    m_blocks is the number of planes. Here window size w has weight exp(gamma (zeta_{t+w} - zeta_t)) with the model's own
//!    frequencies zeta, and t advances by w.
//! 6. *Section 5.2.5*: kappa = E[||x P|| / ||x||] fits the claim of section 5.4 only if both are root mean squares, RMSNorm's
//!    own, and so they are here; Euclidean norms would leave a factor sqrt((d + 2h) / d). Epsilon is multiplied by kappa^2, of
//!    which the paper says nothing: without it the approximation is worse.
//! 7. *Noise* on the head is added after the final gain was merged into it; sigma_h is the standard deviation then. A tied
//!    head is untied first.
//! 8. *U_vo* is any invertible matrix in section 5.2.3 and a Gaussian one in Algorithm 2 (line 4), and Gaussian here unless
//!    `orthogonal_values` is set: a Gaussian matrix is often so near to a singular one that the model does not survive
//!    rounding to bf16.
//! 9. *Biases* do not occur in the paper; they follow the outputs they are added to, exactly.

mod draws;
mod key_matrix;
mod layer;
mod secret;
mod write;

#[cfg(test)]
mod tests;

use std::path::Path;

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, StagedDir, write_json};
use equicrypt_spec::{ModelConfig, Profile, TensorSpec};
use serde_json::json;

use crate::Error;
use draws::{Draws, Part};
use key_matrix::KeyMatrices;
use layer::LayerSecrets;

pub use secret::AloePriSecret;

/// The scheme's parameters. Their defaults are those that section 6.3 recommends.
#[derive(Debug, Clone, PartialEq)]
pub struct AloePri {
    /// Noise on the embedding, in its standard deviations.
    pub alpha_e: f64,
    /// Noise on the head, in its standard deviations.
    pub alpha_h: f64,
    /// How far the square part of a key matrix is from orthogonal.
    pub lambda: f64,
    /// The residual stream becomes 2h coordinates wider; even.
    pub h: usize,
    /// The largest window of RoPE planes that are shuffled; 1 leaves them alone.
    pub beta: usize,
    /// How much windows avoid planes of different frequencies.
    pub gamma: f64,
    /// Whether values are mixed by an orthogonal matrix in place of the Gaussian one of the listing.
    pub orthogonal_values: bool,
}

impl Default for AloePri {
    fn default() -> Self {
        Self {
            alpha_e: 1.0,
            alpha_h: 0.2,
            lambda: 0.3,
            h: 128,
            beta: 8,
            gamma: 1e3,
            orthogonal_values: false,
        }
    }
}

impl AloePri {
    /// Whether the paper's construction covers models of this family.
    #[must_use]
    pub fn takes(config: &ModelConfig) -> bool {
        FAMILIES.contains(&config.architecture.model_type)
    }

    /// Obfuscates the Llama, Mistral or Qwen2 model in the folder `original` into the new folder `output`, in `dtype` or
    /// each tensor's own, and gives the secret permutation of ids. The output is an ordinary Hugging Face folder; stock
    /// engines that want the hidden size to be a multiple of the heads load it if d + 2h is one.
    ///
    /// Everything is drawn from `seed`. Matrices are products in f64, rounded once. Memory holds a few of the largest
    /// layer's tensors in f64 for each core.
    ///
    /// # Errors
    /// If the folder cannot be read or is of another family, a parameter is out of range, or the output cannot be written;
    /// then nothing is left of it.
    pub fn encrypt(
        &self,
        original: &Path,
        output: &Path,
        dtype: Option<Dtype>,
        seed: [u8; 32],
    ) -> Result<AloePriSecret, Error> {
        self.check()?;
        let checkpoint = Checkpoint::open(original)?;
        let source = checkpoint.model_config()?;
        if !Self::takes(&source) {
            let family = source.architecture.model_type;
            return Err(refused(format!(
                "expected a model of type {}, found {family:?}; the paper does not say how its parts are obfuscated",
                FAMILIES.join(", ")
            )));
        }
        let header = checkpoint
            .tensors()
            .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
        source.architecture.check(&source, header)?;

        let staged = StagedDir::new(output)?;
        let keys = KeyMatrices::draw(
            &mut Draws::new(&seed, Part::Base),
            source.hidden_size,
            self.h,
            self.lambda,
        );
        let kappa = keys.kappa();
        let target = self.target(&source, kappa);
        let vocabulary = &mut Draws::new(&seed, Part::Vocabulary);
        let secret = AloePriSecret::draw(vocabulary, source.vocab_size);
        let layers = (0..source.layers)
            .map(|layer| self.layer(&source, layer, &seed))
            .collect();

        let tensors = target.architecture.tensors(&target);
        let write = write::Write {
            scheme: self,
            checkpoint: &checkpoint,
            source: &source,
            dtype,
            seed,
            kappa,
            keys,
            layers,
            plain_of: secret.plain_of(),
        };
        let headers = write.headers(&tensors)?;
        let stored = headers.first().map_or(Dtype::F32, |header| header.dtype);
        let writer = CheckpointWriter::create(staged.path(), &headers)?;
        write.run(&tensors, &writer)?;
        writer.finish()?;
        let file = |name: &str| staged.path().join(name);
        write_json(&file("config.json"), &target.to_json(stored.torch_name()))?;
        let no_ids = json!({ "bos_token_id": null, "eos_token_id": null, "pad_token_id": null });
        write_json(&file("generation_config.json"), &no_ids)?;
        staged.commit()?;
        Ok(secret)
    }

    fn check(&self) -> Result<(), Error> {
        for (name, value) in [
            ("alpha_e", self.alpha_e),
            ("alpha_h", self.alpha_h),
            ("lambda", self.lambda),
            ("gamma", self.gamma),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(refused(format!(
                    "{name}: expected a number from 0 on, found {value}"
                )));
            }
        }
        if self.h % 2 == 1 || self.h > LARGEST_H {
            return Err(refused(format!(
                "h: expected an even number up to {LARGEST_H}, found {}",
                self.h
            )));
        }
        Ok(())
    }

    fn target(&self, source: &ModelConfig, kappa: f64) -> ModelConfig {
        let mut target = source.clone();
        target.hidden_size += 2 * self.h;
        target.norm_epsilon *= kappa * kappa;
        target.tied_head = false;
        (target.bos, target.eos, target.pad) = (None, Vec::new(), None);
        target
    }

    fn layer(&self, config: &ModelConfig, layer: usize, seed: &[u8; 32]) -> LayerSecrets {
        let rope = config.layer_kinds.get(layer).and_then(|kind| kind.rope);
        let frequencies = match rope.and_then(|rope| config.ropes.get(rope)) {
            Some(rope) => rope.frequencies(config.head_dim),
            None => vec![0.0; config.head_dim / 2],
        };
        let rng = &mut Draws::new(seed, Part::Layer(layer));
        LayerSecrets::draw(rng, self, config, &frequencies)
    }
}

/// The gain that the scheme merges into the linear layer of this tensor.
fn merged_gain(config: &ModelConfig, spec: &TensorSpec) -> Option<String> {
    let row = config
        .architecture
        .gain_folded_into(spec.row.role, config, Profile::Rotate)?;
    let layer = spec.layer.filter(|_| row.is_per_layer());
    Some(row.tensor_name(layer, None))
}

fn refused(problem: String) -> Error {
    Error::AloePri { problem }
}

/// Model types whose every part the paper describes.
const FAMILIES: &[&str] = &["llama", "mistral", "qwen2"];

/// Far above the paper's largest, 512; more would only run out of memory.
const LARGEST_H: usize = 1 << 14;
