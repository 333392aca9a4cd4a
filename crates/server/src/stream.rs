use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use equicrypt_spec::wire::Usage;
use futures_util::stream;
use serde::Serialize;

use crate::answers::{Answers, Step, Token};
use crate::refusal::Refusal;

/// How a route spells the chunks of a stream.
pub(crate) trait Chunks: Send + 'static {
    type Chunk: Serialize;

    /// A choice has one more id.
    fn token(&mut self, token: Token) -> Self::Chunk;

    /// A choice will not go on.
    fn aborted(&mut self, choice: usize) -> Self::Chunk;

    /// The counts, at the end.
    fn usage(&mut self, usage: Usage) -> Self::Chunk;
}

/// Server-sent events: a chunk for each id, the counts if asked for, `[DONE]`. An error after the
/// first chunk is an event too. When the client goes away the answers are dropped, which cancels
/// them.
pub(crate) fn stream(answers: Answers, chunks: impl Chunks, include_usage: bool) -> Response {
    let state = State {
        answers,
        chunks,
        include_usage,
        pending: VecDeque::new(),
        ended: false,
    };
    let events = stream::unfold(state, |mut state| async move {
        let data = state.next().await?;
        Some((Ok::<_, Infallible>(Event::default().data(data)), state))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

struct State<C> {
    answers: Answers,
    chunks: C,
    include_usage: bool,
    pending: VecDeque<String>,
    ended: bool,
}

impl<C: Chunks> State<C> {
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(data) = self.pending.pop_front() {
                return Some(data);
            }
            if self.ended {
                return None;
            }
            match self.answers.next().await {
                Some(Step::Token(token)) => {
                    let chunk = self.chunks.token(token);
                    self.push(&chunk);
                }
                Some(Step::Aborted(choices)) => {
                    for choice in choices {
                        let chunk = self.chunks.aborted(choice);
                        self.push(&chunk);
                    }
                }
                Some(Step::Failed(message)) => {
                    let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message);
                    self.push(&refusal.body());
                    self.end();
                }
                None => {
                    if self.include_usage {
                        let chunk = self.chunks.usage(self.answers.usage());
                        self.push(&chunk);
                    }
                    self.end();
                }
            }
        }
    }

    fn push(&mut self, chunk: &impl Serialize) {
        // Chunks are made of numbers and strings, which always have a JSON form.
        self.pending.extend(serde_json::to_string(chunk));
    }

    fn end(&mut self) {
        self.pending.push_back("[DONE]".into());
        self.ended = true;
    }
}

const KEEP_ALIVE: Duration = Duration::from_secs(15);
