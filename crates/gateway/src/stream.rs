use std::collections::VecDeque;

use equicrypt_spec::wire::{ErrorBody, FinishReason, TokenLogprob, Usage};

use crate::host::{Added, Dialect, Exchange, Host, Incoming, Options, Progress, refused};
use crate::{Error, EventParser};

/// What a host added to an answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// New cipher ids.
    pub ids: Vec<u32>,
    /// For each id, if asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// Why the answer ended: a stop id, or its greatest length; none while it goes on.
    pub finish: Option<FinishReason>,
    /// Token counts; after the answer's end, if the host gives them.
    pub usage: Option<Usage>,
}

/// An answer that is still coming. Dropping it closes the connection, and the host stops.
pub struct Stream {
    incoming: Incoming,
    parser: EventParser,
    events: VecDeque<String>,
    answer: Answer,
    over: bool,
    exchange: Option<Exchange>,
}

impl Stream {
    pub(crate) fn new(
        incoming: Incoming,
        host: &Host,
        options: &Options<'_>,
        exchange: Option<Exchange>,
    ) -> Self {
        Self {
            incoming,
            parser: EventParser::new(MOST_EVENT),
            events: VecDeque::new(),
            answer: Answer {
                url: host.url(),
                dialect: host.dialect(),
                vocab_size: options.vocab_size,
                stop_ids: options.stop_ids.as_slice().to_vec(),
                max_tokens: options.max_tokens,
                logprobs: options.sampling.logprobs.is_some(),
                tokens: 0,
                finished: false,
                over: false,
            },
            over: false,
            exchange,
        }
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.answer.dialect
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.incoming.is_sealed()
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
            while !self.answer.over
                && let Some(event) = self.events.pop_front()
            {
                if event == "[DONE]" {
                    self.incoming.is_whole().await?;
                    return self.answer.end().map(|()| None);
                }
                if let Some(step) = self.answer.take(&event)? {
                    return Ok(Some(step));
                }
            }
            if self.answer.over {
                return self.answer.end().map(|()| None);
            }
            let Some(chunk) = self.incoming.chunk().await? else {
                return self.answer.end().map(|()| None);
            };
            if let Some(exchange) = &self.exchange {
                exchange.received(&chunk);
            }
            let mut events = Vec::new();
            self.parser.push(&chunk, &mut events)?;
            self.events.extend(events);
        }
    }
}

/// The checks on an answer; they know nothing of the network.
struct Answer {
    url: String,
    dialect: &'static Dialect,
    vocab_size: usize,
    stop_ids: Vec<u32>,
    max_tokens: usize,
    logprobs: bool,
    tokens: usize,
    finished: bool,
    /// Nothing that follows is read.
    over: bool,
}

impl Answer {
    /// One event's data. `None` if it adds nothing.
    fn take(&mut self, event: &str) -> Result<Option<Step>, Error> {
        let progress = Progress {
            tokens: self.tokens,
        };
        let Some(chunk) = (self.dialect.read)(event, progress) else {
            return Err(match serde_json::from_str::<ErrorBody>(event) {
                Ok(body) => refused(self.url.clone(), body.error.code, Some(&body)),
                Err(_) => self.protocol("chunks of an answer", "an event of another form"),
            });
        };
        self.over |= chunk.last;
        let mut answers = chunk.answers.into_iter();
        let (added, usage) = (answers.next(), chunk.usage);
        let Some(mut added) = added else {
            return Ok(usage.map(|usage| Step {
                ids: Vec::new(),
                logprobs: Vec::new(),
                finish: None,
                usage: Some(usage),
            }));
        };
        if answers.next().is_some() || added.index != 0 {
            return Err(self.protocol("one answer", "several"));
        }
        if self.finished {
            return Err(self.protocol("the end of the stream after finish_reason", "more chunks"));
        }
        if added.ids.len() > self.max_tokens.saturating_sub(self.tokens) {
            return Err(self.protocol("at most max_tokens ids", "more"));
        }
        self.check_ids(&added)?;
        self.end_at_stop(&mut added);
        self.tokens += added.ids.len();
        self.finished = added.finish.is_some();
        let gave_up = match added.finish {
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
            ids: added.ids,
            logprobs: added.logprobs,
            finish: added.finish,
            usage,
        };
        let adds = !step.ids.is_empty() || step.finish.is_some() || step.usage.is_some();
        Ok(adds.then_some(step))
    }

    fn check_ids(&self, added: &Added) -> Result<(), Error> {
        let inside = |id: u32| (id as usize) < self.vocab_size;
        let named = |entry: &TokenLogprob| inside(entry.token_id) && !entry.logprob.is_nan();
        let all = added.ids.iter().all(|id| inside(*id))
            && added
                .logprobs
                .iter()
                .all(|entry| named(entry) && entry.top_logprobs.iter().all(named));
        if !all {
            let found = format!("an id outside the vocabulary of {}", self.vocab_size);
            return Err(self.protocol("cipher ids", &found));
        }
        let ids = added.logprobs.iter().map(|entry| entry.token_id);
        if self.logprobs && !ids.eq(added.ids.iter().copied()) {
            return Err(self.protocol("a log-probability for each id", "others"));
        }
        Ok(())
    }

    /// A host that was not told which ids end an answer, or cannot be, goes on behind them.
    fn end_at_stop(&mut self, added: &mut Added) {
        let stop = added.ids.iter().position(|id| self.stop_ids.contains(id));
        if let Some(stop) = stop {
            added.ids.truncate(stop + 1);
            added.logprobs.truncate(stop + 1);
            if added.finish.is_none() {
                self.over = true;
            }
            added.finish = Some(FinishReason::Stop);
        }
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
