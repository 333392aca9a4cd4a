use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use equicrypt_ring::wire::{Answer, FrameError, Request};
use equicrypt_ring::{ModelDigest, Residues};
use equicrypt_sealed::{LinkControl, LinkReader, LinkWriter, connect};

use crate::counters::{Counters, LinkCounters};
use crate::{Error, HostAddress, HostError, HostName, HostProblem};

/// An open connection to one host. A thread takes its answers as they come, so that questions can be sent in any number before.
pub(crate) struct HostLink {
    name: HostName,
    address: HostAddress,
    timeout: Duration,
    outgoing: Mutex<Outgoing>,
    control: LinkControl,
    shared: Arc<Shared>,
}

/// A question whose answer is awaited.
#[derive(Debug)]
pub(crate) struct Ticket {
    request: u32,
    rows: usize,
    width: usize,
}

struct Outgoing {
    writer: LinkWriter,
    next: u32,
}

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
    counters: Arc<Counters>,
    name: HostName,
}

#[derive(Default)]
struct State {
    /// The questions that were sent, in their order.
    asked: VecDeque<u32>,
    answers: HashMap<u32, Residues>,
    /// Why nothing comes any more.
    ended: Option<HostProblem>,
}

impl HostLink {
    /// Connects, and agrees on the model.
    pub(crate) fn open(
        name: HostName,
        address: &HostAddress,
        digest: ModelDigest,
        timeout: Duration,
        counters: &Arc<Counters>,
    ) -> Result<Self, Error> {
        let fail = |problem| {
            Error::Host(Box::new(HostError {
                name,
                address: address.clone(),
                problem,
            }))
        };
        let unreachable =
            |error: &dyn std::fmt::Display| HostProblem::Unreachable(error.to_string());
        let mut link = connect(&address.address, address.pin.as_ref(), timeout)
            .map_err(|error| fail(unreachable(&error)))?;
        let set = |timeout| link.control.set_timeout(timeout);
        set(Some(timeout)).map_err(|error| fail(unreachable(&error)))?;
        Request::Hello(digest)
            .write(&mut link.writer)
            .map_err(|error| fail(problem_of(error, timeout)))?;
        let welcome = Answer::read(&mut link.reader);
        match welcome.map_err(|error| fail(problem_of(error, timeout)))? {
            Some((Answer::Welcome(found), _)) if found == digest => {}
            Some((Answer::Welcome(found), _)) => {
                return Err(fail(HostProblem::OtherModel {
                    expected: digest,
                    found,
                }));
            }
            Some((Answer::Refusal(text), _)) => return Err(fail(HostProblem::Refused(text))),
            Some((Answer::Product { .. }, _)) => {
                return Err(fail(HostProblem::Unasked {
                    expected: "a welcome".to_owned(),
                    found: "an answer".to_owned(),
                }));
            }
            None => return Err(fail(HostProblem::Gone)),
        }
        set(None)
            .and_then(|()| link.control.set_write_timeout(Some(timeout)))
            .map_err(|error| fail(unreachable(&error)))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            arrived: Condvar::new(),
            counters: Arc::clone(counters),
            name,
        });
        let (taker, reader) = (Arc::clone(&shared), link.reader);
        thread::Builder::new()
            .name(format!("equicrypt-host-{name}"))
            .spawn(move || taker.take_all(reader))
            .map_err(|error| fail(unreachable(&error)))?;
        Ok(Self {
            name,
            address: address.clone(),
            timeout,
            outgoing: Mutex::new(Outgoing {
                writer: link.writer,
                next: 0,
            }),
            control: link.control,
            shared,
        })
    }

    /// Sends what expects no answer.
    pub(crate) fn tell(&self, message: &Request) -> Result<(), Error> {
        let mut outgoing = self.outgoing();
        self.write(&mut outgoing, |writer| message.write(writer))
    }

    /// Sends a question; its answer will be so many vectors of this width.
    pub(crate) fn ask(
        &self,
        question: impl FnOnce(u32, &mut LinkWriter) -> Result<usize, FrameError>,
        rows: usize,
        width: usize,
    ) -> Result<Ticket, Error> {
        let mut outgoing = self.outgoing();
        let request = outgoing.next;
        outgoing.next = request.wrapping_add(1);
        // Before it can be answered.
        self.shared.state().asked.push_back(request);
        self.write(&mut outgoing, |writer| question(request, writer))?;
        Ok(Ticket {
            request,
            rows,
            width,
        })
    }

    /// Waits for an answer.
    pub(crate) fn wait(&self, ticket: Ticket) -> Result<Residues, Error> {
        let start = Instant::now();
        let mut state = self.shared.state();
        loop {
            if let Some(answers) = state.answers.remove(&ticket.request) {
                drop(state);
                let found = (answers.rows(), answers.width());
                if found == (ticket.rows, ticket.width) {
                    return Ok(answers);
                }
                let shape = |(rows, width)| format!("{rows} vectors of {width}");
                return Err(self.fail(HostProblem::Unasked {
                    expected: shape((ticket.rows, ticket.width)),
                    found: shape(found),
                }));
            }
            if let Some(problem) = state.ended.clone() {
                drop(state);
                return Err(self.fail(problem));
            }
            let Some(left) = self.timeout.checked_sub(start.elapsed()) else {
                drop(state);
                return Err(self.fail(HostProblem::Slow(self.timeout)));
            };
            let waited = self.shared.arrived.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The error that this host caused, whose connection ends with it.
    pub(crate) fn fail(&self, problem: HostProblem) -> Error {
        self.close();
        Error::Host(Box::new(HostError {
            name: self.name,
            address: self.address.clone(),
            problem,
        }))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.shared.state().ended.is_some()
    }

    pub(crate) fn close(&self) {
        self.control.close();
    }

    fn write(
        &self,
        outgoing: &mut Outgoing,
        message: impl FnOnce(&mut LinkWriter) -> Result<usize, FrameError>,
    ) -> Result<(), Error> {
        match message(&mut outgoing.writer) {
            Ok(bytes) => {
                self.shared.counters().sent.add(bytes);
                Ok(())
            }
            Err(error) => {
                // What the host said before it went is more than that it went.
                let said = self.shared.state().ended.clone();
                let problem = match said {
                    Some(problem @ HostProblem::Refused(_)) => problem,
                    _ => problem_of(error, self.timeout),
                };
                Err(self.fail(problem))
            }
        }
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HostLink {
    fn drop(&mut self) {
        let _ = self.outgoing().writer.finish();
        self.close();
    }
}

impl Shared {
    /// Takes answers until none comes any more.
    fn take_all(&self, mut reader: LinkReader) {
        let problem = loop {
            match Answer::read(&mut reader) {
                Ok(Some((Answer::Product { request, answers }, bytes))) => {
                    self.counters().received.add(bytes);
                    let mut state = self.state();
                    if state.asked.front() != Some(&request) {
                        let expected = state.asked.front();
                        break HostProblem::Unasked {
                            expected: match expected {
                                Some(asked) => format!("the answer to question {asked}"),
                                None => "no answer, because nothing was asked".to_owned(),
                            },
                            found: format!("one to question {request}"),
                        };
                    }
                    state.asked.pop_front();
                    state.answers.insert(request, answers);
                    self.arrived.notify_all();
                }
                Ok(Some((Answer::Refusal(text), _))) => break HostProblem::Refused(text),
                Ok(Some((Answer::Welcome(_), _))) => {
                    break HostProblem::Unasked {
                        expected: "an answer".to_owned(),
                        found: "a second welcome".to_owned(),
                    };
                }
                Ok(None) => break HostProblem::Gone,
                Err(FrameError::Stream(_) | FrameError::CutOff) => break HostProblem::Gone,
                Err(error) => break HostProblem::Failed(error.to_string()),
            }
        };
        self.state().ended = Some(problem);
        self.arrived.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> &LinkCounters {
        match self.name {
            HostName::A => &self.counters.a,
            HostName::B => &self.counters.b,
        }
    }
}

fn problem_of(error: FrameError, timeout: Duration) -> HostProblem {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match error {
        FrameError::Stream(error) if matches!(error.kind(), TimedOut | WouldBlock) => {
            HostProblem::Slow(timeout)
        }
        FrameError::Stream(_) | FrameError::CutOff => HostProblem::Gone,
        error => HostProblem::Failed(error.to_string()),
    }
}
