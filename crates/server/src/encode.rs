//! `POST /v1/embeddings`, `/classify`, `/pooling` and `/rerank` with token ids, as in vLLM 0.33; what is our own is said at
//! [`equicrypt_spec::wire::EncodeRequest`].

mod read;

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use equicrypt_engine::{Part, Vectors};
use equicrypt_spec::Task;
use equicrypt_spec::wire::{
    Classification, Embedding, EmbeddingValues, EncodeResponse, EncodingFormat, Pooled,
    PooledValues, Relevance, RerankResponse, Usage,
};

use crate::answers::request_id;
use crate::app::App;
use crate::host::now;
use crate::refusal::Refusal;
use read::Read;

type Body = Result<Bytes, BytesRejection>;

pub(crate) async fn embeddings(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request = Read::new(&app, body)?;
    request.demand(&[Task::Features], "embeddings")?;
    let format = request.encoding_format;
    let vectors = request.run(&app, Part::Answer).await?;
    let embedding = |(index, vector): (usize, &Vectors)| Embedding {
        index,
        object: "embedding".into(),
        embedding: match format {
            EncodingFormat::Float => EmbeddingValues::Float(vector.to_f32()),
            EncodingFormat::Base64 => EmbeddingValues::Base64(base64(&vector.to_f32())),
        },
    };
    let data = vectors.iter().enumerate().map(embedding).collect();
    Ok(list(&app, &headers, "embd", data, request.tokens()))
}

pub(crate) async fn classify(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request = Read::new(&app, body)?;
    request.demand(&[Task::SequenceLabels], "labels of texts")?;
    let vectors = request.run(&app, Part::Answer).await?;
    let data = vectors.iter().enumerate().map(|(index, vector)| {
        let probs = request.activated(vector.to_f64());
        let best = probs.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        Classification {
            index,
            label: best.map(|(label, _)| format!("LABEL_{label}")),
            num_classes: probs.len(),
            probs,
        }
    });
    let data = data.collect();
    Ok(list(&app, &headers, "classify", data, request.tokens()))
}

pub(crate) async fn pooling(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request = Read::new(&app, body)?;
    let Some((_, part, of_tokens, tasks)) = (TASKS.iter()).find(|task| task.0 == request.task)
    else {
        let names: Vec<&str> = TASKS.iter().map(|task| task.0).collect();
        let message = format!("task: expected one of {}, found another", names.join(", "));
        return Err(Refusal::field("task", message));
    };
    request.demand(tasks, &request.task)?;
    let vectors = request.run(&app, *part).await?;
    let is_label = request.task.ends_with("classify");
    let pooled = |(index, vectors): (usize, &Vectors)| {
        let values = vectors.to_f64();
        let rows = values.chunks_exact(vectors.width().max(1)).map(|row| {
            if is_label {
                request.activated(row.to_vec())
            } else {
                row.iter().map(|value| *value as f32).collect()
            }
        });
        let data = if *of_tokens {
            let rows: Vec<Vec<f32>> = rows.collect();
            match request.positions.get(index) {
                None => PooledValues::Many(rows),
                Some(wanted) => {
                    let wanted = wanted.iter().filter_map(|row| rows.get(*row as usize));
                    PooledValues::Many(wanted.cloned().collect())
                }
            }
        } else {
            PooledValues::One(rows.flatten().collect())
        };
        let object = "pooling".into();
        Pooled {
            index,
            object,
            data,
        }
    };
    let data = vectors.iter().enumerate().map(pooled).collect();
    Ok(list(&app, &headers, "pool", data, request.tokens()))
}

pub(crate) async fn rerank(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let request = Read::new(&app, body)?;
    request.demand(&[Task::SequenceLabels], "relevance scores")?;
    let labels = app.encoder()?.config().labels;
    if labels != 1 {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("this model has {labels} labels, a reranker has one; ask /classify"),
        ));
    }
    let vectors = request.run(&app, Part::Answer).await?;
    let scores = vectors
        .iter()
        .map(|vector| request.activated(vector.to_f64()));
    let mut results: Vec<Relevance> = scores
        .enumerate()
        .map(|(index, score)| Relevance {
            index,
            relevance_score: score.first().copied().unwrap_or(f32::NAN),
        })
        .collect();
    results.sort_by(|a, b| b.relevance_score.total_cmp(&a.relevance_score));
    results.truncate(request.top_n.unwrap_or(usize::MAX));
    let body = RerankResponse {
        id: format!("rerank-{}", request_id(None, &headers)),
        model: app.host.name().to_owned(),
        results,
        usage: Some(usage(request.tokens())),
    };
    Ok(Json(body).into_response())
}

/// What `/pooling` can be asked for: the name, what the encoder is asked for, whether each token has a vector, and which
/// models have it.
const TASKS: &[(&str, Part, bool, &[Task])] = &[
    ("embed", Part::Answer, false, &[Task::Features]),
    ("classify", Part::Answer, false, &[Task::SequenceLabels]),
    ("token_embed", Part::TokenVectors, true, &ALL),
    ("token_classify", Part::Answer, true, &[Task::TokenLabels]),
    ("token_logits", Part::Answer, true, &[Task::MaskedToken]),
];

const ALL: [Task; 4] = [
    Task::Features,
    Task::SequenceLabels,
    Task::TokenLabels,
    Task::MaskedToken,
];

fn list<T: serde::Serialize>(
    app: &App,
    headers: &HeaderMap,
    kind: &str,
    data: Vec<T>,
    tokens: usize,
) -> Response {
    Json(EncodeResponse {
        id: format!("{kind}-{}", request_id(None, headers)),
        object: "list".into(),
        created: now(),
        model: app.host.name().to_owned(),
        data,
        usage: Some(usage(tokens)),
    })
    .into_response()
}

fn usage(tokens: usize) -> Usage {
    Usage {
        prompt_tokens: tokens,
        total_tokens: tokens,
        completion_tokens: 0,
        prompt_tokens_details: None,
    }
}

fn base64(values: &[f32]) -> String {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    BASE64_STANDARD.encode(bytes)
}
