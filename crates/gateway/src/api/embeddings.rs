//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use equicrypt_spec::Manifest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::completions::Prompt;
use super::error::ApiError;
use super::{App, request};
use crate::{EncoderOwner, Error, Long, Prepared};

#[derive(Debug, Deserialize)]
struct EmbeddingRequest {
    input: Prompt,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(default)]
    dimensions: Option<usize>,
}

pub(super) async fn embeddings(
    State(app): State<Arc<App>>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let request: EmbeddingRequest = request::parse(&body)?;
    let epochs = app.encoder()?;
    let base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let expected = "expected \"float\" or \"base64\"";
            return Err(ApiError::field("encoding_format", expected));
        }
    };
    let texts = texts(request.input, epochs.owner())?;
    let tokens: usize = texts.iter().map(|text| text.ids().len()).sum();
    let encrypt = |manifest: &Manifest| {
        let session = epochs.at(manifest)?;
        let encrypted = texts.iter().map(|text| session.encrypt(text));
        let encrypted = encrypted.collect::<Result<Vec<_>, Error>>()?;
        Ok((session, encrypted))
    };
    let (session, vectors) = app.pool.embeddings(tokens, encrypt).await?;
    let mut data = Vec::with_capacity(vectors.len());
    for (index, vector) in vectors.iter().enumerate() {
        let vector: Vec<f32> = session
            .decrypt_embedding(vector)?
            .into_iter()
            .map(|value| value as f32)
            .collect();
        if let Some(dimensions) = request.dimensions
            && dimensions != vector.len()
        {
            let message = format!("this model's embeddings have {} numbers", vector.len());
            return Err(ApiError::field("dimensions", message));
        }
        data.push(json!({
            "object": "embedding", "index": index, "embedding": values(&vector, base64),
        }));
    }
    app.counters.embedded(tokens);
    Ok(Json(json!({
        "object": "list", "data": data, "model": app.name,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    }))
    .into_response())
}

/// Texts with the model's default prompt, cut as sentence-transformers cuts them; ids as they are.
fn texts(input: Prompt, owner: &EncoderOwner) -> Result<Vec<Prepared>, ApiError> {
    let prompt = owner.prompt(None)?;
    let encode = |text: String| owner.encode(&format!("{prompt}{text}"), Long::Truncate);
    let all: Vec<Prepared> = match input {
        Prompt::Text(text) => vec![encode(text)?],
        Prompt::Texts(texts) => texts.into_iter().map(encode).collect::<Result<_, _>>()?,
        Prompt::Ids(ids) => vec![owner.of_ids(ids)?],
        Prompt::IdLists(lists) => {
            let all = lists.into_iter().map(|ids| owner.of_ids(ids));
            all.collect::<Result<_, _>>()?
        }
    };
    match all.len() {
        1..=MOST_TEXTS => Ok(all),
        found => {
            let message = format!("expected 1 to {MOST_TEXTS} texts, found {found}");
            Err(ApiError::field("input", message))
        }
    }
}

fn values(vector: &[f32], base64: bool) -> Value {
    match base64 {
        false => json!(vector),
        true => {
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            json!(BASE64_STANDARD.encode(bytes))
        }
    }
}

/// OpenAI's.
const MOST_TEXTS: usize = 2048;
