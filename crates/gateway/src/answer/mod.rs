//! One answer: cipher ids come in, text comes out.

mod constraint;
mod stops;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use equicrypt_spec::Manifest;
use equicrypt_spec::wire::{FinishReason, TokenLogprob};

use self::constraint::Constraint;
use self::stops::Stops;
use crate::history::Seen;
use crate::homophones::Correction;
use crate::pool::{Asked, Leased, Pool};
use crate::settings::Settings;
use crate::{Error, Session, Step, TextModel, TextStream};

/// What is asked of the model; several answers may be given to it.
pub(crate) struct Question {
    /// Plain ids.
    pub(crate) prompt: Vec<u32>,
    /// The cipher ids of its beginning, if a host generated some of them.
    pub(crate) known: Seen,
    /// The text that they are, if the conversation may go on: then the answer is remembered.
    pub(crate) prompt_text: Option<String>,
    /// New ids, at most; at least 1, and no more than the context has room for.
    pub(crate) max_tokens: usize,
    pub(crate) settings: Settings,
    /// What ends an answer besides the model's own end.
    pub(crate) stops: Vec<String>,
    /// Special tokens that are shown as text: marks of tool calls and of reasoning.
    pub(crate) marks: BTreeMap<u32, String>,
    /// What the answer's text must be.
    pub(crate) form: Option<Form>,
}

/// What an answer's text must be.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema(serde_json::Value),
    /// A tool call, as JSON of this schema; as it comes where the schema cannot be followed exactly.
    Call(serde_json::Value),
}

/// What was added to an answer.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// Why the answer ended; none while it goes on.
    pub(crate) finish: Option<Finish>,
}

/// A plain id, as it was drawn.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) id: u32,
    /// If asked for.
    pub(crate) logprob: Option<f64>,
    /// The likeliest ids, the likeliest first.
    pub(crate) top: Vec<(u32, f64)>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
}

/// An answer that is still coming. Dropping it closes the connection, and the host stops.
pub(crate) struct Answer {
    model: Arc<TextModel>,
    pool: Arc<Pool>,
    question: Arc<Question>,
    /// What a host is told, before it is encrypted for its epoch.
    settings: Settings,
    /// Which of the answers to its question it is.
    number: usize,
    stream: Option<Leased>,
    /// Of the epoch that the last stream came under.
    session: Option<Arc<Session>>,
    text: TextStream,
    stops: Stops,
    constraint: Option<Constraint>,
    /// Plain ids so far.
    ids: Vec<u32>,
    /// Cipher ids of prompt and answer, as far as a host was told them or told them.
    cipher: Seen,
    correction: Correction,
    /// Whether the host's log-probabilities are those behind the correction.
    biased_logprobs: bool,
    /// All text so far, if it is to be remembered.
    said: Option<String>,
    cached: usize,
    over: bool,
}

impl Answer {
    /// Asks a host, and waits until it begins to answer.
    pub(crate) async fn start(
        model: Arc<TextModel>,
        pool: Arc<Pool>,
        question: Arc<Question>,
        number: usize,
    ) -> Result<Self, Error> {
        let mut settings = question.settings.clone();
        let constraint = match &question.form {
            Some(form) => {
                let wanted = settings.logprobs.unwrap_or(0).max(constraint::CANDIDATES);
                settings.logprobs = Some(wanted);
                let (model, form) = (Arc::clone(&model), form.clone());
                // The first time the vocabulary is read for it, which takes a moment.
                let made = tokio::task::spawn_blocking(move || Constraint::new(&model, &form));
                let problem = "could not be made";
                let made = made.await.map_err(|_| Error::Grammar { problem })?;
                match made {
                    Err(Error::Schema { .. }) if matches!(question.form, Some(Form::Call(_))) => {
                        None
                    }
                    made => Some(made?),
                }
            }
            None => None,
        };
        let mut answer = Self {
            settings,
            number,
            session: None,
            correction: Correction::Greedy,
            biased_logprobs: false,
            cipher: question.known.clone(),
            text: model.owner().text().stream(),
            stops: Stops::new(question.stops.clone()),
            said: question.prompt_text.is_some().then(String::new),
            model,
            pool,
            question,
            stream: None,
            constraint,
            ids: Vec::new(),
            cached: 0,
            over: false,
        };
        answer.ask().await?;
        Ok(answer)
    }

    /// What comes next; `None` after the end, or after an error.
    pub(crate) async fn next(&mut self) -> Option<Result<Piece, Error>> {
        if self.over {
            return None;
        }
        let piece = self.advance().await;
        self.over = !matches!(&piece, Ok(Piece { finish: None, .. }));
        if self.over {
            self.stream = None;
        }
        Some(piece)
    }

    /// Ids so far.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Ids of the prompt that the host had in its cache, if it tells.
    pub(crate) fn cached(&self) -> usize {
        self.cached
    }

    async fn ask(&mut self) -> Result<(), Error> {
        let mut prompt = self.question.prompt.clone();
        prompt.extend(&self.ids);
        let most = self.question.max_tokens.saturating_sub(self.ids.len());
        self.model.count_prompt(prompt.len());
        let (model, settings, number) = (&self.model, &self.settings, self.number);
        let most_logprobs = self.pool.most_logprobs();
        let known = &self.cipher;
        let encrypt = |manifest: &Manifest| {
            let session = model.session(manifest)?;
            let mut settings = settings.clone();
            if session.has_homophones() {
                // Homophones stand side by side among the likeliest ids.
                settings.logprobs = settings.logprobs.map(|wanted| wanted.max(most_logprobs));
            }
            Ok(Asked {
                prompt: session.encrypt_knowing(&prompt, known.under(&session))?,
                sampling: settings.encrypt(&session, number)?,
                tells_stops: model.tells_stops(),
                max_tokens: most.max(1),
                session,
            })
        };
        let stream = self.pool.generate(prompt.len(), encrypt).await?;
        let asked = stream.asked();
        self.cipher = Seen {
            epoch: asked.session.epoch(),
            ids: asked.prompt.as_slice().to_vec(),
        };
        self.correction = Correction::of(&asked.sampling);
        self.session = Some(Arc::clone(&asked.session));
        self.biased_logprobs = stream.dialect().biased_logprobs;
        self.stream = Some(stream);
        Ok(())
    }

    async fn advance(&mut self) -> Result<Piece, Error> {
        loop {
            if self.stream.is_none() {
                self.ask().await?;
            }
            let step = match &mut self.stream {
                Some(stream) => stream.next().await.transpose()?,
                None => None,
            };
            let Some(step) = step else {
                // A stream without an end is an error of its own, so this is behind the end.
                return Ok(self.finished(Piece::default(), Finish::Stop));
            };
            let may_go_on = self.count(&step).await?;
            let mut piece = self.take(step)?;
            if piece.finish.is_none() && !may_go_on {
                self.stream = None;
                piece = self.finished(piece, Finish::Length);
            }
            if piece.finish.is_some() {
                self.read_on().await?;
            }
            if piece.finish.is_some() || !piece.text.is_empty() || !piece.tokens.is_empty() {
                return Ok(piece);
            }
        }
    }

    fn take(&mut self, step: Step) -> Result<Piece, Error> {
        let plain = self.decrypt(&step.ids)?;
        let mut logprobs = step.logprobs.into_iter();
        let mut piece = Piece::default();
        for (id, cipher) in plain.into_iter().zip(step.ids) {
            let mut token = self.token(id, logprobs.next())?;
            if let Some(constraint) = &mut self.constraint
                && let Some(better) = constraint.correct(&token)?
            {
                token = better;
                // What the host goes on with belongs to another answer.
                self.stream = None;
            }
            if self.model.owner().stop_ids().contains(&token.id) {
                piece.tokens.push(token);
                return Ok(self.finished(piece, Finish::Stop));
            }
            if self.stream.is_some() {
                self.cipher.ids.push(cipher);
            }
            let ended = self.push(token, &mut piece)?;
            if ended {
                self.stream = None;
                return Ok(self.finished(piece, Finish::Stop));
            }
            if self.ids.len() >= self.question.max_tokens {
                return Ok(self.finished(piece, Finish::Length));
            }
            if self.stream.is_none() {
                return self.go_on(piece);
            }
        }
        Ok(match step.finish {
            Some(FinishReason::Stop) => self.finished(piece, Finish::Stop),
            Some(_) => self.finished(piece, Finish::Length),
            None => piece,
        })
    }

    /// Behind a correction: what can come next in one way only need not be asked for.
    fn go_on(&mut self, mut piece: Piece) -> Result<Piece, Error> {
        let forced = match &mut self.constraint {
            Some(constraint) => constraint.forced()?,
            None => Vec::new(),
        };
        for id in forced {
            let ended = self.push(self.token(id, None)?, &mut piece)?;
            if ended {
                return Ok(self.finished(piece, Finish::Stop));
            }
            if self.ids.len() >= self.question.max_tokens {
                return Ok(self.finished(piece, Finish::Length));
            }
        }
        Ok(piece)
    }

    /// Takes the next id; says whether the answer ends behind it.
    fn push(&mut self, token: Token, piece: &mut Piece) -> Result<bool, Error> {
        let id = token.id;
        self.ids.push(id);
        piece.tokens.push(token);
        let text = match self.question.marks.get(&id) {
            Some(mark) => {
                let fresh = self.model.owner().text().stream();
                let before = std::mem::replace(&mut self.text, fresh).finish()?;
                before.unwrap_or_default() + mark
            }
            None => self.text.push(id)?.unwrap_or_default(),
        };
        if self.show(&text, piece) {
            return Ok(true);
        }
        match &mut self.constraint {
            Some(constraint) => Ok(constraint.is_over()),
            None => Ok(false),
        }
    }

    /// Shows text, but for what may be a stop string; says whether one came.
    fn show(&mut self, text: &str, piece: &mut Piece) -> bool {
        if let Some(said) = &mut self.said {
            said.push_str(text);
        }
        let (shown, stopped) = self.stops.push(text);
        piece.text.push_str(&shown);
        if stopped {
            self.said = None;
        }
        stopped
    }

    /// The end of the answer: nothing is held back any longer.
    fn finished(&mut self, mut piece: Piece, finish: Finish) -> Piece {
        let fresh = self.model.owner().text().stream();
        let rest = std::mem::replace(&mut self.text, fresh).finish();
        let stopped = match rest {
            Ok(Some(rest)) => self.show(&rest, &mut piece),
            _ => false,
        };
        piece.text.push_str(&self.stops.finish());
        if let (Some(said), Some(prompt)) = (self.said.take(), &self.question.prompt_text) {
            let mut ids = self.question.prompt.clone();
            ids.extend(&self.ids);
            // All ids are of the vocabulary: the prompt was sent, and the answer was decrypted.
            if let Some(session) = &self.session
                && let Ok(cipher) = session.encrypt_knowing(&ids, self.cipher.under(session))
            {
                let cipher = Seen {
                    epoch: session.epoch(),
                    ids: cipher.as_slice().to_vec(),
                };
                let text = format!("{prompt}{said}");
                self.model.history().remember(text, ids, cipher);
            }
        }
        piece.finish = Some(if stopped { Finish::Stop } else { finish });
        piece
    }

    /// The counts come behind the end; and a connection that was read to its end can be used again.
    ///
    /// # Errors
    /// Of a sealed answer, if it does not end as the host sealed it.
    async fn read_on(&mut self) -> Result<(), Error> {
        let Some(mut stream) = self.stream.take() else {
            return Ok(());
        };
        if stream.is_sealed() {
            while let Some(step) = stream.next().await {
                self.count(&step?).await?;
            }
            return Ok(());
        }
        let rest = async {
            while let Some(Ok(step)) = stream.next().await {
                self.count(&step).await?;
            }
            Ok::<_, Error>(())
        };
        // Whoever is late with the counts is not waited for.
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
        Ok(())
    }

    /// Says whether the epoch's budget lets the answer go on.
    async fn count(&mut self, step: &Step) -> Result<bool, Error> {
        self.model.count_completion(step.ids.len());
        let details = step.usage.and_then(|usage| usage.prompt_tokens_details);
        if let Some(details) = details {
            self.cached = self.cached.max(details.cached_tokens);
            self.model.count_cached(details.cached_tokens);
        }
        match &self.session {
            Some(session) => {
                let ledger = self.pool.ledger();
                ledger.receive(session.epoch(), step.ids.len()).await
            }
            None => Ok(true),
        }
    }

    /// Cipher ids under the vocabulary that they were asked for under.
    fn decrypt(&self, cipher: &[u32]) -> Result<Vec<u32>, Error> {
        match &self.session {
            Some(session) => session.decrypt(cipher),
            // Nothing comes before it was asked for.
            None => Ok(Vec::new()),
        }
    }

    fn token(&self, id: u32, logprob: Option<TokenLogprob>) -> Result<Token, Error> {
        let Some(entry) = logprob else {
            return Ok(Token {
                id,
                logprob: None,
                top: Vec::new(),
            });
        };
        let (logprob, top) = match &self.session {
            Some(session) => {
                session.plain_logprobs(&entry, self.correction, self.biased_logprobs)?
            }
            // Nothing comes before it was asked for.
            None => (entry.logprob, Vec::new()),
        };
        Ok(Token {
            id,
            logprob: Some(logprob),
            top,
        })
    }
}

const LAST_WORDS: Duration = Duration::from_millis(500);
