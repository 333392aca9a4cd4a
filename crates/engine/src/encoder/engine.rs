//! Many requests, one forward pass: one thread takes as many waiting texts as a pass has room for.
//!
//! Texts are not padded, so a pass costs the same however their lengths differ, and nothing is gained by sorting them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use equicrypt_spec::ModelConfig;
use tokio::sync::oneshot;

use super::{Encoder, Part, Text, Vectors};
use crate::scheduler::Counters;
use crate::{Counts, Error, SubmitError};

/// How much an encoder's engine takes on.
#[derive(Debug, Clone)]
pub struct EncoderOptions {
    /// Most texts that wait for a pass.
    pub max_queue: usize,
    /// Most tokens in one pass; a longer text has a pass of its own.
    pub pass_tokens: usize,
}

/// Texts to be read, all for the same part.
#[derive(Debug, Clone)]
pub struct EncodeRequest {
    /// Token ids of each text, and the types of its tokens: none, or as many.
    pub texts: Vec<(Vec<u32>, Vec<u32>)>,
    /// What is wanted of each.
    pub part: Part,
}

/// A running encoder. Clones are handles to the same one; when the last is dropped, it finishes what it has accepted and
/// ends.
#[derive(Clone)]
pub struct EncoderEngine(Arc<Handle>);

/// The answers to a request. Dropping it cancels the request.
#[derive(Debug)]
pub struct Encoding(oneshot::Receiver<Result<Vec<Vectors>, String>>);

struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    encoder: Arc<Encoder>,
    options: EncoderOptions,
    counters: Counters,
    inbox: Mutex<Inbox>,
    changed: Condvar,
}

struct Inbox {
    queue: VecDeque<Job>,
    /// Texts of the jobs in a pass that are not in it: they wait, though their jobs are not in the queue.
    behind_pass: usize,
    is_open: bool,
    is_aborted: bool,
}

/// A request, as much of it as was read.
struct Job {
    request: EncodeRequest,
    done: Vec<Vectors>,
    answer: oneshot::Sender<Result<Vec<Vectors>, String>>,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self {
            max_queue: 4096,
            pass_tokens: 8192,
        }
    }
}

impl EncoderEngine {
    /// Starts the engine's thread. Options of 0 are taken as 1.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(encoder: impl Into<Arc<Encoder>>, options: EncoderOptions) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            encoder: encoder.into(),
            options: EncoderOptions {
                max_queue: options.max_queue.max(1),
                pass_tokens: options.pass_tokens.max(1),
            },
            counters: Counters::default(),
            inbox: Mutex::new(Inbox {
                queue: VecDeque::new(),
                behind_pass: 0,
                is_open: true,
                is_aborted: false,
            }),
            changed: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("equicrypt-encoder".into())
            .spawn(move || worker.run())
            .map_err(Error::Thread)?;
        Ok(Self(Arc::new(Handle {
            shared,
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Queues a request. Never waits.
    ///
    /// # Errors
    /// If a text cannot be read, the model does not have the part, the queue is full, or the engine is shutting down.
    pub fn submit(&self, request: EncodeRequest) -> Result<Encoding, SubmitError> {
        let shared = &self.0.shared;
        shared.check(&request)?;
        let (answer, receiver) = oneshot::channel();
        let mut inbox = shared.inbox();
        if !inbox.is_open {
            return Err(SubmitError::ShuttingDown);
        }
        let waiting = inbox.drop_abandoned(&shared.counters);
        if waiting > 0 && waiting + request.texts.len() > shared.options.max_queue {
            shared.counters.overloaded.add(1);
            return Err(SubmitError::Overloaded { waiting });
        }
        shared.counters.accepted.add(1);
        inbox.queue.push_back(Job {
            request,
            done: Vec::new(),
            answer,
        });
        inbox.count_waiting(&shared.counters);
        drop(inbox);
        shared.changed.notify_all();
        Ok(Encoding(receiver))
    }

    /// The model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        self.0.shared.encoder.config()
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &EncoderOptions {
        &self.0.shared.options
    }

    /// What the engine has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.shared.counters.read()
    }

    /// Whether requests are accepted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.shared.inbox().is_open
    }

    /// Refuses new requests; those accepted are finished.
    pub fn close(&self) {
        self.0.shared.inbox().is_open = false;
        self.0.shared.changed.notify_all();
    }

    /// Refuses new requests and gives up those that wait.
    pub fn abort(&self) {
        let mut inbox = self.0.shared.inbox();
        (inbox.is_open, inbox.is_aborted) = (false, true);
        drop(inbox);
        self.0.shared.changed.notify_all();
    }

    /// [Closes](Self::close) the engine and waits until its thread has ended.
    pub fn join(&self) {
        self.close();
        let mut thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // After a panic of the thread every request sees its channel closed.
            let _ = thread.join();
        }
    }
}

impl Encoding {
    /// One answer for each text.
    ///
    /// # Errors
    /// With words for people, if the host failed or stopped.
    pub async fn answers(self) -> Result<Vec<Vectors>, String> {
        self.0.await.unwrap_or_else(|_| Err(STOPPED.into()))
    }

    /// [`answers`](Self::answers) for threads that may wait.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// If called from asynchronous code.
    pub fn blocking_answers(self) -> Result<Vec<Vectors>, String> {
        self.0
            .blocking_recv()
            .unwrap_or_else(|_| Err(STOPPED.into()))
    }
}

impl Shared {
    fn check(&self, request: &EncodeRequest) -> Result<(), SubmitError> {
        let texts = texts(&request.texts);
        let invalid = |param, message: String| SubmitError::Invalid { param, message };
        if texts.is_empty() {
            return Err(invalid("input", "expected at least one text".into()));
        }
        self.encoder
            .check(&texts, request.part)
            .map_err(|error| match error {
                Error::TokenTypes { .. } => invalid("token_type_ids", error.to_string()),
                Error::NoPart { .. } => invalid("task", error.to_string()),
                _ => invalid("input", error.to_string()),
            })
    }

    fn run(&self) {
        // Whatever happens to this thread, nobody is left waiting.
        let _closing = Closing(self);
        while let Some((part, mut jobs)) = self.next() {
            let pass: Vec<Text<'_>> = (jobs.iter())
                .flat_map(|(job, count)| {
                    let from = job.done.len();
                    texts(&job.request.texts[from..from + count])
                })
                .collect();
            let tokens: usize = pass.iter().map(|text| text.tokens.len()).sum();
            self.counters.running.set(pass.len());
            let start = Instant::now();
            let answers = self.encoder.forward(&pass, part);
            let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.counters.forward_nanoseconds.add(elapsed);
            self.counters.steps.add(1);
            self.counters.prompt_tokens.add(tokens as u64);
            self.counters.running.set(0);
            match answers {
                Ok(answers) => {
                    let mut answers = answers.into_iter();
                    for (job, count) in &mut jobs {
                        job.done.extend(answers.by_ref().take(*count));
                    }
                    self.give_back(jobs);
                }
                Err(error) => {
                    self.inbox().behind_pass = 0;
                    for (job, _) in jobs {
                        self.counters.failed.add(1);
                        // Nobody may be waiting any longer.
                        let _ = job.answer.send(Err(error.to_string()));
                    }
                }
            }
        }
    }

    /// The next pass: jobs for the same part, and how many texts of each. Waits for work.
    fn next(&self) -> Option<(Part, Vec<(Job, usize)>)> {
        let mut inbox = self.inbox();
        loop {
            inbox.drop_abandoned(&self.counters);
            if inbox.is_aborted {
                return None;
            }
            if let Some(part) = inbox.queue.front().map(|job| job.request.part) {
                let mut room = self.options.pass_tokens;
                let mut jobs: Vec<(Job, usize)> = Vec::new();
                let fits_part = |job: &Job| job.request.part == part;
                while inbox.queue.front().is_some_and(fits_part)
                    && let Some(job) = inbox.queue.pop_front()
                {
                    let left = &job.request.texts[job.done.len()..];
                    let fitting = left.iter().take_while(|(tokens, _)| {
                        let fits = tokens.len() <= room;
                        room = if fits { room - tokens.len() } else { 0 };
                        fits
                    });
                    let count = fitting.count();
                    let is_whole = count == left.len();
                    match (count, jobs.is_empty()) {
                        (0, false) => inbox.queue.push_front(job),
                        // A text that is longer than a pass has room.
                        (0, true) => jobs.push((job, 1)),
                        _ => jobs.push((job, count)),
                    }
                    if !is_whole {
                        break;
                    }
                }
                let left = |(job, count): &(Job, usize)| {
                    (job.request.texts.len() - job.done.len()).saturating_sub(*count)
                };
                inbox.behind_pass = jobs.iter().map(left).sum();
                inbox.count_waiting(&self.counters);
                return Some((part, jobs));
            }
            if !inbox.is_open {
                return None;
            }
            inbox = self
                .changed
                .wait(inbox)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Answers the jobs that are complete, and puts the others back where they were.
    fn give_back(&self, jobs: Vec<(Job, usize)>) {
        let mut inbox = self.inbox();
        inbox.behind_pass = 0;
        for (job, _) in jobs.into_iter().rev() {
            if job.done.len() < job.request.texts.len() {
                inbox.queue.push_front(job);
            } else {
                self.counters.finished.add(1);
                // Nobody may be waiting any longer.
                let _ = job.answer.send(Ok(job.done));
            }
        }
        inbox.count_waiting(&self.counters);
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Texts that wait.
    fn drop_abandoned(&mut self, counters: &Counters) -> usize {
        let before = self.queue.len();
        self.queue.retain(|job| !job.answer.is_closed());
        counters.cancelled.add((before - self.queue.len()) as u64);
        self.count_waiting(counters)
    }

    fn count_waiting(&self, counters: &Counters) -> usize {
        let left = |job: &Job| job.request.texts.len() - job.done.len();
        let queued: usize = self.queue.iter().map(left).sum();
        let waiting = queued + self.behind_pass;
        counters.waiting.set(waiting);
        waiting
    }
}

/// Drops what is left in the queue, so that nobody waits for it.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut inbox = self.0.inbox();
        inbox.is_open = false;
        inbox.queue.clear();
        inbox.behind_pass = 0;
        self.0.counters.waiting.set(0);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.inbox().is_open = false;
        self.shared.changed.notify_all();
    }
}

impl std::fmt::Debug for EncoderEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncoderEngine")
            .field("options", self.options())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

fn texts(owned: &[(Vec<u32>, Vec<u32>)]) -> Vec<Text<'_>> {
    owned
        .iter()
        .map(|(tokens, token_types)| Text {
            tokens,
            token_types,
        })
        .collect()
}

const STOPPED: &str = "the encoder stopped; restart the host";
