use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use equicrypt_engine::{EncodeRequest, Part, Vectors};
use equicrypt_spec::wire::EncodingFormat;
use equicrypt_spec::{LabelActivation, Task};
use serde::Deserialize;
use serde_json::Value;

use crate::app::App;
use crate::body::{self, Unsupported};
use crate::ids;
use crate::refusal::Refusal;

/// A request for an encoder, read.
pub(super) struct Read {
    texts: Vec<(Vec<u32>, Vec<u32>)>,
    task_of_model: Task,
    activation: LabelActivation,
    pub(super) encoding_format: EncodingFormat,
    pub(super) task: String,
    /// For each text the tokens that are answered for; empty for all.
    pub(super) positions: Vec<Vec<u32>>,
    pub(super) top_n: Option<usize>,
}

/// The fields besides those with ids.
#[derive(Deserialize)]
struct Fields {
    model: Option<String>,
    encoding_format: Option<EncodingFormat>,
    use_activation: Option<bool>,
    task: Option<String>,
    top_n: Option<usize>,
}

impl Read {
    pub(super) fn new(app: &App, body: Result<Bytes, BytesRejection>) -> Result<Self, Refusal> {
        let engine = app.encoder()?;
        let mut object = body::object(body)?;
        body::refuse(&object, UNSUPPORTED)?;
        let [input, types, positions] =
            ["input", "token_type_ids", "positions"].map(|name| object.remove(name));
        let fields: Fields = body::read(&Value::Object(object))?;
        app.check_model(fields.model.as_deref())?;
        let most = engine.options().max_queue;
        let texts = ids::read("input", "token ids", input.as_ref(), most)?;
        let types = beside("token_type_ids", "token types", types.as_ref(), &texts)?;
        let positions = beside("positions", "token positions", positions.as_ref(), &texts)?;
        for (positions, text) in positions.iter().zip(&texts) {
            if positions.iter().any(|place| *place as usize >= text.len()) {
                let message = "positions: expected numbers below the text's length, found others";
                return Err(Refusal::field("positions", message));
            }
        }
        let types = types.into_iter().chain(std::iter::repeat(Vec::new()));
        let config = engine.config();
        Ok(Self {
            texts: texts.into_iter().zip(types).collect(),
            task_of_model: config.task,
            activation: match fields.use_activation {
                Some(false) => LabelActivation::Identity,
                _ => config.label_activation(),
            },
            encoding_format: fields.encoding_format.unwrap_or(EncodingFormat::Float),
            task: fields.task.unwrap_or_else(|| usual(config.task).into()),
            positions,
            top_n: fields.top_n,
        })
    }

    /// Refuses what the model does not give.
    pub(super) fn demand(&self, tasks: &[Task], what: &str) -> Result<(), Refusal> {
        if tasks.contains(&self.task_of_model) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!(
                "the model is made for {}, it gives no {what}",
                self.task_of_model.name()
            ),
        ))
    }

    /// One answer for each text.
    pub(super) async fn run(&self, app: &App, part: Part) -> Result<Vec<Vectors>, Refusal> {
        let request = EncodeRequest {
            texts: self.texts.clone(),
            part,
        };
        let encoding = app.encoder()?.submit(request)?;
        let failed = |message: String| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message);
        let vectors = encoding.answers().await.map_err(failed)?;
        let is_sound = |vectors: &Vectors| vectors.to_f32().iter().all(|value| value.is_finite());
        match vectors.iter().all(is_sound) {
            true => Ok(vectors),
            false => Err(failed(
                "the model gave something that is no number: its weights are damaged, or too \
                 large for the engine's precision"
                    .into(),
            )),
        }
    }

    /// What is said of labels.
    pub(super) fn activated(&self, mut logits: Vec<f64>) -> Vec<f32> {
        self.activation.apply(&mut logits);
        logits.iter().map(|value| *value as f32).collect()
    }

    /// Tokens of all texts.
    pub(super) fn tokens(&self) -> usize {
        self.texts.iter().map(|(tokens, _)| tokens.len()).sum()
    }
}

/// A field with as many lists as there are texts; none if it is absent.
fn beside(
    name: &str,
    what: &str,
    value: Option<&Value>,
    texts: &[Vec<u32>],
) -> Result<Vec<Vec<u32>>, Refusal> {
    if value.is_none() {
        return Ok(Vec::new());
    }
    let lists = ids::read(name, what, value, texts.len())?;
    if lists.len() == texts.len() {
        return Ok(lists);
    }
    let message = format!(
        "{name}: expected {} lists, one for each text, found {}",
        texts.len(),
        lists.len()
    );
    Err(Refusal::field(name, message))
}

/// What `/pooling` gives if it is not said.
fn usual(task: Task) -> &'static str {
    match task {
        Task::Features | Task::NextToken => "embed",
        Task::SequenceLabels => "classify",
        Task::TokenLabels => "token_classify",
        Task::MaskedToken => "token_logits",
    }
}

const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        field: "dimensions",
        advice: "cut vectors at the owner's side",
    },
    Unsupported {
        field: "messages",
        advice: "send token ids",
    },
    Unsupported {
        field: "query",
        advice: "send each query with its document as one text in input",
    },
    Unsupported {
        field: "documents",
        advice: "send each query with its document as one text in input",
    },
    Unsupported {
        field: "truncate_prompt_tokens",
        advice: "cut texts at the owner's side",
    },
];
