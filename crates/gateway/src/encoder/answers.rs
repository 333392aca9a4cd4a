//! Asking a host: encrypt, send, check, decrypt.

use std::ops::Range;

use equicrypt_spec::{LabelActivation, Task};

use super::owner::Prepared;
use super::session::{CipherText, EncoderSession};
use crate::host::{Expected, TokenTask};
use crate::{Error, Host};

/// A token of a text, and what the model says of it.
pub struct LabelledToken {
    /// How it is spelt in the vocabulary.
    pub piece: String,
    /// Where it stands in the text, in characters.
    pub span: Range<usize>,
    /// A number for each label.
    pub scores: Vec<f64>,
}

/// What a masked token may have been.
pub struct Candidate {
    /// Its plain id.
    pub id: u32,
    /// Its probability.
    pub probability: f64,
}

impl EncoderSession {
    /// The sentence embeddings of the texts.
    pub async fn embed(&self, host: &Host, texts: &[Prepared]) -> Result<Vec<Vec<f64>>, Error> {
        let vectors = self.vectors(host, texts).await?;
        let decrypt = |vector: &Vec<f32>| self.decrypt_embedding(vector);
        vectors.iter().map(decrypt).collect()
    }

    /// The same in the host's coordinates, in which cosines and distances are the same. Fails
    /// where only the first numbers of an embedding are used: there are no first ones in another
    /// order.
    pub async fn embed_as_host(
        &self,
        host: &Host,
        texts: &[Prepared],
    ) -> Result<Vec<Vec<f32>>, Error> {
        match self.owner().truncate_dim() {
            None => self.vectors(host, texts).await,
            Some(numbers) => Err(Error::CutEmbedding {
                numbers,
                dir: self.owner().dir().to_owned(),
            }),
        }
    }

    /// For each text a number for each label, in the order of [`super::EncoderOwner::labels`]:
    /// probabilities, where the model gives some.
    pub async fn classify(&self, host: &Host, texts: &[Prepared]) -> Result<Vec<Vec<f64>>, Error> {
        self.owner().demand(Task::SequenceLabels)?;
        let expected = self.expect(self.owner().config().labels);
        let logits = host.classify(&self.encrypt_all(texts)?, expected).await?;
        logits.iter().map(|logits| self.scores(logits)).collect()
    }

    /// The same for each token of each text, without the special ones around it.
    pub async fn label_tokens(
        &self,
        host: &Host,
        texts: &[Prepared],
    ) -> Result<Vec<Vec<LabelledToken>>, Error> {
        self.owner().demand(Task::TokenLabels)?;
        let wanted: Vec<Vec<u32>> = texts.iter().map(Prepared::own_tokens).collect();
        let expected = self.expect(self.owner().config().labels);
        let cipher = self.encrypt_all(texts)?;
        let answers = host.tokens(&cipher, TokenTask::Labels, &wanted, expected);
        let answers = answers.await?;
        let texts = texts.iter().zip(&wanted).zip(&answers);
        let token = |text: &Prepared, place: u32, logits: &[f32]| {
            let place = place as usize;
            Ok(LabelledToken {
                piece: self.piece_at(text, place),
                span: text.spans.get(place).cloned().unwrap_or_default(),
                scores: self.scores(logits)?,
            })
        };
        texts
            .map(|((text, wanted), answer)| {
                let tokens = wanted.iter().zip(answer);
                tokens
                    .map(|(place, logits)| token(text, *place, logits))
                    .collect()
            })
            .collect()
    }

    /// For each pair, made by [`super::EncoderOwner::encode_pair`], how well the document answers
    /// the query.
    pub async fn rerank(&self, host: &Host, pairs: &[Prepared]) -> Result<Vec<f64>, Error> {
        self.owner().demand(Task::SequenceLabels)?;
        let labels = self.owner().config().labels;
        if labels != 1 {
            return Err(Error::NotAReranker { labels });
        }
        let expected = self.expect(labels);
        let scores = host.rerank(&self.encrypt_all(pairs)?, expected).await?;
        let score = |score: &f32| {
            let mut scores = self.decrypt_labels(&[*score])?;
            self.owner().relevance().apply(&mut scores);
            Ok(scores.into_iter().sum())
        };
        scores.iter().map(score).collect()
    }

    /// For each mask in the text the `top` likeliest tokens, the likeliest first. The host is told
    /// which tokens of the text are asked for.
    pub async fn fill_mask(
        &self,
        host: &Host,
        text: &Prepared,
        top: usize,
    ) -> Result<Vec<Vec<Candidate>>, Error> {
        self.owner().demand(Task::MaskedToken)?;
        let (written, mask) = self.owner().mask()?;
        let places = text.ids.iter().enumerate();
        let places: Vec<u32> = places
            .filter(|(_, id)| **id == mask)
            .map(|(place, _)| place as u32)
            .collect();
        if places.is_empty() {
            return Err(Error::NoMask {
                mask: written.to_owned(),
            });
        }
        let expected = self.expect(self.vocab_size());
        let cipher = [self.encrypt(text)?];
        let places = [places];
        let answers = host.tokens(&cipher, TokenTask::Logits, &places, expected);
        let mut answers = answers.await?;
        let masks = answers.pop().unwrap_or_default();
        masks
            .iter()
            .map(|logits| Ok(likeliest(self.decrypt_logits(logits)?, top)))
            .collect()
    }

    async fn vectors(&self, host: &Host, texts: &[Prepared]) -> Result<Vec<Vec<f32>>, Error> {
        let expected = self.expect(self.embedding_width()?);
        host.embeddings(&self.encrypt_all(texts)?, expected).await
    }

    fn scores(&self, logits: &[f32]) -> Result<Vec<f64>, Error> {
        let mut scores = self.decrypt_labels(logits)?;
        self.owner().config().label_activation().apply(&mut scores);
        Ok(scores)
    }

    fn piece_at(&self, text: &Prepared, place: usize) -> String {
        let piece = text.ids.get(place).and_then(|id| self.owner().piece(*id));
        piece.unwrap_or_default()
    }

    fn encrypt_all(&self, texts: &[Prepared]) -> Result<Vec<CipherText>, Error> {
        texts.iter().map(|text| self.encrypt(text)).collect()
    }

    fn expect(&self, width: usize) -> Expected {
        Expected {
            vocab_size: self.vocab_size(),
            width,
        }
    }
}

impl Prepared {
    /// Which tokens are the text's own.
    fn own_tokens(&self) -> Vec<u32> {
        let places = self.special.iter().enumerate();
        places
            .filter(|(_, special)| !**special)
            .map(|(place, _)| place as u32)
            .collect()
    }
}

/// The ids of the largest numbers, with their softmax over all.
fn likeliest(mut logits: Vec<f64>, top: usize) -> Vec<Candidate> {
    LabelActivation::Softmax.apply(&mut logits);
    let candidate = |(id, probability): (usize, f64)| Candidate {
        id: id as u32,
        probability,
    };
    let mut all: Vec<Candidate> = logits.into_iter().enumerate().map(candidate).collect();
    // Of equal ones the smaller id comes first.
    all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    all.truncate(top);
    all
}
