use std::collections::VecDeque;
use std::time::Duration;

use equicrypt_spec::wire::{ErrorBody, FinishReason, GenerateResponse, Usage};
use reqwest::Response;

use crate::host::{connection, refused, silence};
use crate::{Error, EventParser};

/// What a host added to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// New cipher ids.
    pub ids: Vec<u32>,
    /// Why the answer ended: a stop id, or its greatest length; none while it goes on.
    pub finish: Option<FinishReason>,
    /// Token counts; after the answer's end.
    pub usage: Option<Usage>,
}

/// An answer that is still coming. Dropping it closes the connection, and the host stops.
pub struct Stream {
    response: Response,
    parser: EventParser,
    events: VecDeque<String>,
    answer: Answer,
    silence: Duration,
    over: bool,
}

impl Stream {
    pub(crate) fn new(
        response: Response,
        url: String,
        vocab_size: usize,
        max_tokens: usize,
        silence: Duration,
    ) -> Self {
        Self {
            response,
            parser: EventParser::new(MOST_EVENT),
            events: VecDeque::new(),
            answer: Answer {
                url,
                vocab_size,
                max_tokens,
                tokens: 0,
                finished: false,
            },
            silence,
            over: false,
        }
    }

    /// The next step; `None` after the last one. After an error there is no next one either.
    pub async fn next(&mut self) -> Option<Result<Step, Error>> {
        if self.over {
            return None;
        }
        let next = self.advance().await.transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }

    async fn advance(&mut self) -> Result<Option<Step>, Error> {
        loop {
            while let Some(event) = self.events.pop_front() {
                if event == "[DONE]" {
                    return self.answer.end().map(|()| None);
                }
                if let Some(step) = self.answer.take(&event)? {
                    return Ok(Some(step));
                }
            }
            let chunk = tokio::time::timeout(self.silence, self.response.chunk())
                .await
                .map_err(|_| silence(self.answer.url.clone(), self.silence))?
                .map_err(|error| connection(self.answer.url.clone(), &error))?;
            let Some(chunk) = chunk else {
                return self.answer.end().map(|()| None);
            };
            let mut events = Vec::new();
            self.parser.push(&chunk, &mut events)?;
            self.events.extend(events);
        }
    }
}

/// The checks on an answer; they know nothing of the network.
struct Answer {
    url: String,
    vocab_size: usize,
    max_tokens: usize,
    tokens: usize,
    finished: bool,
}

impl Answer {
    /// One event's data. `None` if it adds nothing.
    fn take(&mut self, event: &str) -> Result<Option<Step>, Error> {
        let Ok(chunk) = serde_json::from_str::<GenerateResponse>(event) else {
            return Err(match serde_json::from_str::<ErrorBody>(event) {
                Ok(body) => refused(self.url.clone(), body.error.code, Some(&body)),
                Err(_) => self.protocol("chunks of an answer", "an event of another form"),
            });
        };
        let mut choices = chunk.choices.into_iter();
        let (choice, usage) = (choices.next(), chunk.usage);
        let Some(choice) = choice else {
            return Ok(usage.map(|usage| Step {
                ids: Vec::new(),
                finish: None,
                usage: Some(usage),
            }));
        };
        if choices.next().is_some() || choice.index != 0 {
            return Err(self.protocol("one answer", "several"));
        }
        if self.finished {
            return Err(self.protocol("the end of the stream after finish_reason", "more chunks"));
        }
        if choice.token_ids.len() > self.max_tokens.saturating_sub(self.tokens) {
            return Err(self.protocol("at most max_tokens ids", "more"));
        }
        let inside = |id: &u32| (*id as usize) < self.vocab_size;
        if !choice.token_ids.iter().all(inside) {
            let found = format!("an id outside the vocabulary of {}", self.vocab_size);
            return Err(self.protocol("cipher ids", &found));
        }
        self.tokens += choice.token_ids.len();
        self.finished = choice.finish_reason.is_some();
        let gave_up = match choice.finish_reason {
            Some(FinishReason::Abort) => Some("abort"),
            Some(FinishReason::Error) => Some("error"),
            _ => None,
        };
        if let Some(reason) = gave_up {
            return Err(Error::GaveUp {
                url: self.url.clone(),
                reason,
                tokens: self.tokens,
            });
        }
        let step = Step {
            ids: choice.token_ids,
            finish: choice.finish_reason,
            usage,
        };
        let adds = !step.ids.is_empty() || step.finish.is_some() || step.usage.is_some();
        Ok(adds.then_some(step))
    }

    /// The stream's end.
    fn end(&self) -> Result<(), Error> {
        if self.finished {
            return Ok(());
        }
        Err(Error::CutOff {
            url: self.url.clone(),
            tokens: self.tokens,
        })
    }

    fn protocol(&self, expected: &'static str, found: &str) -> Error {
        Error::Protocol {
            url: self.url.clone(),
            expected,
            found: found.to_owned(),
        }
    }
}

/// One chunk holds a few ids; with log-probabilities of many ids, some hundred kilobytes.
const MOST_EVENT: usize = 4 << 20;
