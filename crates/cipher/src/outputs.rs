use equicrypt_spec::{Axis, Manifest, ModelConfig, Profile, Role, Side};

use crate::rewrite::Action;
use crate::schedule::Schedule;
use crate::secrets::Permit;
use crate::{Error, MasterKey, Secrets, Vocabulary};

/// How the owner reads an encoder's answers: x = M^-1 x' for the map M of the axis that an answer lies on.
pub struct Outputs {
    vocabulary: Vocabulary,
    token_vector: Undo,
    pooled: Option<Undo>,
    labels: Option<Undo>,
    sentence: Option<Undo>,
}

/// M^-1 of one axis.
struct Undo(Action<f64>, usize);

impl Outputs {
    /// For the model with this manifest, encrypted from one with the configuration `source`. Fails if the key is not the one
    /// that encrypted it, or if `source` is another architecture's.
    pub fn open(key: &MasterKey, manifest: &Manifest, source: &ModelConfig) -> Result<Self, Error> {
        let vocabulary = Vocabulary::open(key, manifest)?;
        let arch = source.architecture;
        if arch.model_type != manifest.architecture
            || source.vocab_size != manifest.plain_vocab_size
            || !source.task.is_of_encoder()
        {
            return Err(Error::OtherModel {
                expected: manifest.architecture.clone(),
                found: arch.model_type,
            });
        }
        let schedule = Schedule::new(key, &manifest.fingerprint()?, manifest.weights_epoch());
        let config = match manifest.rotates_output {
            true => crate::plan::with_rotated_output(source)?,
            false => source.clone(),
        };
        let permit = |axis| {
            let profile = match axis {
                Axis::Sentence if manifest.rotates_output => Profile::Rotate,
                _ => manifest.profile,
            };
            // Axes of answers have no scales but a rectified pooler's, which no answer shows.
            Permit::legal(&config, axis, profile, false)
        };
        let axes = [Axis::Hidden, Axis::Pooled, Axis::Labels, Axis::Sentence];
        let permits = axes.map(permit);
        let secrets = Secrets::derive_some(&schedule, &config, &permits, &axes);
        let undo = |side: Side| {
            let element = secrets.side(side, None, None)?;
            Some(Undo(Action::new(&element.inverse()), element.size()))
        };
        let has = |role| arch.row(role, &config, None).is_some();
        Ok(Self {
            token_vector: undo(Axis::Hidden.direct()).unwrap_or_else(Undo::nothing),
            pooled: undo(Axis::Pooled.direct()).filter(|_| has(Role::HeadDense)),
            labels: undo(Axis::Labels.direct()).filter(|_| config.task.has_labels()),
            sentence: match &config.sentence {
                Some(head) if head.dense.is_some() => undo(Axis::Sentence.direct()),
                Some(_) => undo(Axis::Hidden.direct()),
                None => None,
            },
            vocabulary,
        })
    }

    /// The vocabulary, in which texts are sent.
    #[must_use]
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// A token's vector.
    pub fn token_vector(&self, encrypted: &[f64]) -> Result<Vec<f64>, Error> {
        self.token_vector.apply("token vector", encrypted)
    }

    /// What the pooler gives.
    pub fn pooled(&self, encrypted: &[f64]) -> Result<Vec<f64>, Error> {
        apply(self.pooled.as_ref(), "pooled vector", encrypted)
    }

    /// Numbers of labels: logits or probabilities.
    pub fn labels(&self, encrypted: &[f64]) -> Result<Vec<f64>, Error> {
        apply(self.labels.as_ref(), "labels", encrypted)
    }

    /// A sentence embedding.
    pub fn sentence(&self, encrypted: &[f64]) -> Result<Vec<f64>, Error> {
        apply(self.sentence.as_ref(), "sentence embedding", encrypted)
    }

    /// Numbers of token ids: logits or probabilities.
    pub fn tokens(&self, encrypted: &[f64]) -> Result<Vec<f64>, Error> {
        let rows = self.vocabulary.rows();
        expect("token logits", rows.len(), encrypted)?;
        // Homophones have one row of the head, and so one number.
        let mut plain = vec![0.0; self.vocabulary.plain_size()];
        for (id, value) in rows.iter().zip(encrypted) {
            plain[*id as usize] = *value;
        }
        Ok(plain)
    }
}

impl Undo {
    fn nothing() -> Self {
        Self(Action::new(&crate::element::Element::identity(0)), 0)
    }

    fn apply(&self, what: &'static str, encrypted: &[f64]) -> Result<Vec<f64>, Error> {
        expect(what, self.1, encrypted)?;
        let mut values = encrypted.to_vec();
        self.0.apply(&mut values, 1);
        Ok(values)
    }
}

fn apply(undo: Option<&Undo>, what: &'static str, encrypted: &[f64]) -> Result<Vec<f64>, Error> {
    match undo {
        Some(undo) => undo.apply(what, encrypted),
        None => Err(Error::NoSuchOutput { what }),
    }
}

fn expect(what: &'static str, expected: usize, found: &[f64]) -> Result<(), Error> {
    match found.len() == expected {
        true => Ok(()),
        false => Err(Error::OutputWidth {
            what,
            expected,
            found: found.len(),
        }),
    }
}
