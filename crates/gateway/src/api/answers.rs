//! The answers to one request, as they come.

use std::sync::Arc;

use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream, SelectAll};
use futures_util::{FutureExt, Stream, StreamExt};
use serde_json::{Value, json};

use super::App;
use crate::answer::{Answer, Finish, Piece, Question};
use crate::{Error, TextModel};

/// Several answers at once. Dropping it closes all connections.
pub(super) struct Answers {
    events: SelectAll<BoxStream<'static, Event>>,
    counts: Vec<Counts>,
    prompt_tokens: usize,
}

/// What happens next.
pub(super) struct Event {
    pub(super) choice: usize,
    pub(super) piece: Result<Piece, Error>,
    counts: Counts,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    tokens: usize,
    cached: usize,
}

impl Answers {
    /// Asks for `n` answers to each question, and waits until all of them begin.
    pub(super) async fn start(
        app: &Arc<App>,
        model: &Arc<TextModel>,
        questions: Vec<Question>,
        n: usize,
    ) -> Result<Self, Error> {
        let prompt_tokens = questions.iter().map(|question| question.prompt.len()).sum();
        let questions = questions.into_iter().map(Arc::new);
        let asked = questions
            .flat_map(|question| (0..n).map(move |number| (Arc::clone(&question), number)));
        let started = asked.map(|(question, number)| {
            Answer::start(Arc::clone(model), Arc::clone(&app.pool), question, number)
        });
        let started = try_join_all(started).await?;
        let counts = vec![Counts::default(); started.len()];
        let events = started.into_iter().enumerate().map(|(choice, answer)| {
            let next = move |mut answer: Answer| async move {
                let piece = answer.next().await?;
                let counts = Counts {
                    tokens: answer.tokens(),
                    cached: answer.cached(),
                };
                let event = Event {
                    choice,
                    piece,
                    counts,
                };
                Some((event, answer))
            };
            stream::unfold(answer, next).boxed()
        });
        Ok(Self {
            events: events.collect(),
            counts,
            prompt_tokens,
        })
    }

    /// The next event of any answer; `None` when all have ended.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let event = self.events.next().await;
        self.note(event)
    }

    /// The next event, if it is there already.
    pub(super) fn ready(&mut self) -> Option<Event> {
        let event = self.events.next().now_or_never().flatten();
        self.note(event)
    }

    /// All texts and tokens, and why each ended.
    pub(super) async fn whole(&mut self) -> Result<Vec<Piece>, Error> {
        let mut all: Vec<Piece> = self.counts.iter().map(|_| Piece::default()).collect();
        while let Some(Event { choice, piece, .. }) = self.next().await {
            let piece = piece?;
            if let Some(whole) = all.get_mut(choice) {
                whole.text.push_str(&piece.text);
                whole.tokens.extend(piece.tokens);
                whole.finish = piece.finish.or(whole.finish);
            }
        }
        Ok(all)
    }

    /// Token counts so far, in OpenAI's shape; each prompt once.
    pub(super) fn usage(&self) -> Value {
        let completion: usize = self.counts.iter().map(|counts| counts.tokens).sum();
        let cached = self.counts.iter().map(|counts| counts.cached).max();
        let cached = cached.unwrap_or(0).min(self.prompt_tokens);
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
            "prompt_tokens_details": { "cached_tokens": cached },
        })
    }

    fn note(&mut self, event: Option<Event>) -> Option<Event> {
        if let Some(event) = &event
            && let Some(counts) = self.counts.get_mut(event.choice)
        {
            *counts = event.counts;
        }
        event
    }
}

/// OpenAI's word for the end.
pub(super) fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

/// How a route spells the chunks of a stream.
pub(super) trait Chunks: Send + 'static {
    /// Before everything.
    fn start(&mut self, out: &mut Vec<u8>);

    /// What was added to an answer.
    fn piece(&mut self, choice: usize, piece: &Piece, out: &mut Vec<u8>);

    /// Behind everything.
    fn end(&mut self, usage: Value, out: &mut Vec<u8>);

    /// The answers cannot go on.
    fn error(&mut self, error: Value, out: &mut Vec<u8>);
}

/// The bytes of a stream. When the client goes away it is dropped, and with it the answers.
pub(super) fn bytes(
    answers: Answers,
    chunks: impl Chunks,
) -> impl Stream<Item = Result<axum::body::Bytes, std::convert::Infallible>> + Send + 'static {
    let state = (answers, chunks, true, false);
    stream::unfold(state, |(mut answers, mut chunks, first, over)| async move {
        if over {
            return None;
        }
        let mut out = Vec::with_capacity(512);
        if first {
            chunks.start(&mut out);
        }
        let mut next = answers.next().await;
        let mut over = false;
        // What is there already goes out together.
        while out.len() < MOST_AT_ONCE {
            match next {
                Some(Event {
                    choice,
                    piece: Ok(piece),
                    ..
                }) => {
                    chunks.piece(choice, &piece, &mut out);
                }
                Some(Event {
                    piece: Err(error), ..
                }) => {
                    chunks.error(super::error::ApiError::from(error).body(), &mut out);
                    over = true;
                }
                None => {
                    chunks.end(answers.usage(), &mut out);
                    over = true;
                }
            }
            if over {
                break;
            }
            next = match answers.ready() {
                Some(event) => Some(event),
                None => break,
            };
        }
        Some((Ok(out.into()), (answers, chunks, false, over)))
    })
}

const MOST_AT_ONCE: usize = 16 << 10;
