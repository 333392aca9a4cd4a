//! Masks for prompts to come: while nothing is asked, host B is asked about them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::OwnerModel;
use crate::session::Session;

/// When a session works, and whether its reserve may lack something.
pub(crate) struct Rest {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    last_work: Instant,
    may_lack: bool,
    has_ended: bool,
}

impl Rest {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                last_work: Instant::now(),
                may_lack: true,
                has_ended: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Something is asked, or was answered just now.
    pub(crate) fn works(&self) {
        let mut state = self.state();
        state.last_work = Instant::now();
        // Who waits for a moment without work looks again by itself; waking it between layers would cost each of them.
        if !std::mem::replace(&mut state.may_lack, true) {
            self.changed.notify_all();
        }
    }

    /// Nothing is asked any more.
    pub(crate) fn end(&self) {
        self.state().has_ended = true;
        self.changed.notify_all();
    }

    /// Waits until nothing has been asked for a moment and the reserve may lack something; gives when there was work last. None at
    /// the end.
    fn wait(&self) -> Option<Instant> {
        let mut state = self.state();
        loop {
            let idle = state.last_work.elapsed();
            state = match (state.has_ended, state.may_lack) {
                (true, _) => return None,
                (false, true) if idle >= MOMENT => return Some(state.last_work),
                (false, true) => {
                    let waited = self.changed.wait_timeout(state, MOMENT - idle);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                (false, false) => {
                    let waited = self.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// The reserve lacked nothing at a time when `last_work` was the last.
    fn is_full(&self, last_work: Instant) {
        let mut state = self.state();
        state.may_lack = state.last_work != last_work;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps `masks` of each layer in reserve for as long as there is the session; a few pieces at a time, so that whoever
/// asks something waits for those at most.
pub(crate) fn keep(session: &Arc<Session>, model: &Arc<OwnerModel>, masks: usize) {
    if masks == 0 {
        return;
    }
    let (rest, session, model) = (session.rest(), Arc::downgrade(session), Arc::clone(model));
    // Without a thread there is no reserve, and everything else is as it was.
    let _ = thread::Builder::new()
        .name("equicrypt-reserve".to_owned())
        .spawn(move || fill(&rest, &session, &model, masks));
}

fn fill(rest: &Rest, session: &Weak<Session>, model: &OwnerModel, masks: usize) {
    while let Some(last_work) = rest.wait() {
        let Some(session) = session.upgrade() else {
            return;
        };
        match session.reserve(model.layers(), masks) {
            Ok(true) => {}
            Ok(false) => rest.is_full(last_work),
            // The next question finds out why.
            Err(_) => return,
        }
    }
}

/// Longer than what is between two layers.
const MOMENT: Duration = Duration::from_millis(150);
