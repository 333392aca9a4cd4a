//! What an encoder's host is asked: cipher ids out, numbers back, each of them checked.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use equicrypt_spec::wire::{
    Classification, Embedding, EmbeddingValues, EncodeRequest, EncodeResponse, EncodingFormat,
    Pooled, PooledValues, RerankResponse, TextIds,
};
use serde::de::DeserializeOwned;

use super::Host;
use crate::{CipherText, Error};

/// What an answer is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Cipher ids are below it.
    pub vocab_size: usize,
    /// Numbers for each text or token.
    pub width: usize,
}

/// What is asked of single tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenTask {
    /// Logits of labels.
    Labels,
    /// Logits of all ids.
    Logits,
    /// The last hidden state.
    Vectors,
}

impl Host {
    /// `POST /v1/embeddings`: a vector for each text, in order.
    pub async fn embeddings(
        &self,
        texts: &[CipherText],
        expected: Expected,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let request = EncodeRequest {
            encoding_format: Some(EncodingFormat::Base64),
            ..request(texts, expected)?
        };
        let numbers = texts.len().saturating_mul(expected.width);
        let answer: EncodeResponse<Embedding> =
            self.ask("v1/embeddings", &request, numbers).await?;
        let answers = answer.data.into_iter().map(|answer| {
            let vector = match answer.embedding {
                EmbeddingValues::Float(values) => values,
                EmbeddingValues::Base64(text) => self.floats(&text)?,
            };
            Ok((answer.index, vector))
        });
        self.in_order(answers.collect::<Result<_, Error>>()?, texts, expected)
    }

    /// `POST /classify`: the logits of the labels for each text, in order.
    pub async fn classify(
        &self,
        texts: &[CipherText],
        expected: Expected,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let request = EncodeRequest {
            use_activation: Some(false),
            ..request(texts, expected)?
        };
        let numbers = texts.len().saturating_mul(expected.width);
        let answer: EncodeResponse<Classification> =
            self.ask("classify", &request, numbers).await?;
        let answers = answer.data.into_iter();
        let answers = answers.map(|answer| (answer.index, answer.probs));
        self.in_order(answers.collect(), texts, expected)
    }

    /// `POST /rerank`: the logit of each pair of texts, in the order of the pairs.
    pub async fn rerank(
        &self,
        pairs: &[CipherText],
        expected: Expected,
    ) -> Result<Vec<f32>, Error> {
        let request = EncodeRequest {
            use_activation: Some(false),
            ..request(pairs, expected)?
        };
        let answer: RerankResponse = self.ask("rerank", &request, pairs.len()).await?;
        let mut scores = vec![None; pairs.len()];
        let found = answer.results.len();
        for result in answer.results {
            match scores.get_mut(result.index) {
                Some(score @ None) => *score = Some(result.relevance_score),
                _ => return Err(self.protocol("each pair once", "another pair, or one twice")),
            }
        }
        let scores: Option<Vec<f32>> = scores.into_iter().collect();
        let scores = scores.ok_or_else(|| {
            let expected = "as many scores as pairs";
            self.protocol(expected, &format!("{found} for {}", pairs.len()))
        })?;
        self.finite(&scores)?;
        Ok(scores)
    }

    /// `POST /pooling`: for each text, in order, the numbers of the tokens at these places, in
    /// their order.
    pub async fn tokens(
        &self,
        texts: &[CipherText],
        task: TokenTask,
        places: &[Vec<u32>],
        expected: Expected,
    ) -> Result<Vec<Vec<Vec<f32>>>, Error> {
        let rows: usize = places.iter().map(Vec::len).sum();
        let request = EncodeRequest {
            task: Some(task.name().into()),
            positions: Some(TextIds::Many(places.to_vec())),
            use_activation: (task == TokenTask::Labels).then_some(false),
            ..request(texts, expected)?
        };
        let numbers = rows.saturating_mul(expected.width);
        let answer: EncodeResponse<Pooled> = self.ask("pooling", &request, numbers).await?;
        self.count(answer.data.len(), texts)?;
        let mut all = Vec::with_capacity(texts.len());
        for (index, (answer, places)) in answer.data.into_iter().zip(places).enumerate() {
            let rows = match answer.data {
                PooledValues::Many(rows) => rows,
                // An empty list says nothing of what would be in it.
                PooledValues::One(values) if values.is_empty() => Vec::new(),
                PooledValues::One(_) => {
                    return Err(self.protocol("a list for each token", "one list"));
                }
            };
            self.index(answer.index, index)?;
            if rows.len() != places.len() {
                let found = format!("{} for {} tokens", rows.len(), places.len());
                return Err(self.protocol("a list for each token", &found));
            }
            rows.iter().try_for_each(|row| self.vector(row, expected))?;
            all.push(rows);
        }
        Ok(all)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        route: &'static str,
        request: &EncodeRequest,
        numbers: usize,
    ) -> Result<T, Error> {
        // The body is made of numbers and texts, which always have a JSON form.
        let sent = serde_json::to_vec(request).map_err(|_| self.protocol("JSON", "none"))?;
        let exchange = self.exchange(route, &sent);
        let (answer, _) = self.post(route, sent, exchange.as_ref()).await?;
        let texts = match &request.input {
            TextIds::One(_) => 1,
            TextIds::Many(texts) => texts.len(),
        };
        let most = numbers.saturating_mul(MOST_NUMBER_BYTES);
        let most = most.saturating_add(texts.saturating_mul(MOST_TEXT_BYTES));
        let body = self
            .body(answer, most.saturating_add(MOST_FRAME_BYTES))
            .await?;
        if let Some(exchange) = &exchange {
            exchange.received(&body);
        }
        serde_json::from_slice(&body)
            .map_err(|_| self.protocol("an encoder's answer", "JSON of another form, or none"))
    }

    fn in_order(
        &self,
        answers: Vec<(usize, Vec<f32>)>,
        texts: &[CipherText],
        expected: Expected,
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.count(answers.len(), texts)?;
        for (place, (index, vector)) in answers.iter().enumerate() {
            self.index(*index, place)?;
            self.vector(vector, expected)?;
        }
        Ok(answers.into_iter().map(|(_, vector)| vector).collect())
    }

    fn count(&self, found: usize, texts: &[CipherText]) -> Result<(), Error> {
        match found == texts.len() {
            true => Ok(()),
            false => {
                let found = format!("{found} for {} texts", texts.len());
                Err(self.protocol("an answer for each text", &found))
            }
        }
    }

    fn index(&self, found: usize, place: usize) -> Result<(), Error> {
        match found == place {
            true => Ok(()),
            false => Err(self.protocol(
                "answers in the order of the texts",
                &format!("index {found} at place {place}"),
            )),
        }
    }

    fn vector(&self, vector: &[f32], expected: Expected) -> Result<(), Error> {
        if vector.len() != expected.width {
            let found = format!("{} in place of {}", vector.len(), expected.width);
            return Err(self.protocol("as many numbers as this model gives", &found));
        }
        self.finite(vector)
    }

    fn finite(&self, values: &[f32]) -> Result<(), Error> {
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err(self.protocol("finite numbers", "one that is not")),
        }
    }

    fn floats(&self, text: &str) -> Result<Vec<f32>, Error> {
        let bytes = BASE64_STANDARD.decode(text).ok();
        let bytes = bytes.filter(|bytes| bytes.len() % 4 == 0);
        let bytes = bytes.ok_or_else(|| self.protocol("base64 of f32", "another text"))?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect())
    }
}

impl TokenTask {
    fn name(self) -> &'static str {
        match self {
            Self::Labels => "token_classify",
            Self::Logits => "token_logits",
            Self::Vectors => "token_embed",
        }
    }
}

/// Nothing is sent unless this passes.
fn request(texts: &[CipherText], expected: Expected) -> Result<EncodeRequest, Error> {
    if texts.is_empty() || texts.iter().any(|text| text.ids().is_empty()) {
        return Err(Error::EmptyText);
    }
    let inside = |id: &u32| (*id as usize) < expected.vocab_size;
    if !texts.iter().all(|text| text.ids().iter().all(inside)) {
        return Err(Error::ForeignIds {
            what: "text",
            vocab_size: expected.vocab_size,
        });
    }
    let types = |text: &CipherText| match text.token_types() {
        [] => vec![0; text.ids().len()],
        types => types.to_vec(),
    };
    let has_types = texts.iter().any(|text| !text.token_types().is_empty());
    Ok(EncodeRequest {
        model: None,
        input: TextIds::Many(texts.iter().map(|text| text.ids().to_vec()).collect()),
        token_type_ids: has_types.then(|| TextIds::Many(texts.iter().map(types).collect())),
        encoding_format: None,
        use_activation: None,
        task: None,
        positions: None,
        top_n: None,
    })
}

/// A number as JSON writes it, with a comma.
const MOST_NUMBER_BYTES: usize = 40;
/// What stands around a text's numbers: its index, the name of a label, a list for each token.
const MOST_TEXT_BYTES: usize = 4096;
/// The rest of an answer.
const MOST_FRAME_BYTES: usize = 64 << 10;
