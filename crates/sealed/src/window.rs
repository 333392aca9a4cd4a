use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;
use crate::key::{hex, unhex};

/// A random value that a host gives out, and by which it knows that a request is recent: no clock is needed. In text 32
/// hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window([u8; 16]);

/// The windows in which a host takes requests, and the requests that it took: each is taken once.
pub struct Windows(Mutex<State>);

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Its window is over, or none of this host's.
    Window,
    /// It was taken before.
    Replay,
    /// No more requests can be remembered in this window.
    Full,
}

struct State {
    current: Seen,
    previous: Option<Seen>,
    since: Instant,
    most: usize,
}

struct Seen {
    window: Window,
    requests: HashSet<[u8; 32]>,
}

impl Window {
    /// A new one.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(Error::Randomness)?;
        Ok(Self(bytes))
    }

    /// The window of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Window {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        unhex(text).map(Self).ok_or(Error::WindowText)
    }
}

impl Windows {
    /// A first window. Each lasts ten minutes, and is good for as long again.
    pub fn new() -> Result<Self, Error> {
        Self::remembering(MOST_REQUESTS)
    }

    /// The same, with another number of requests in a window.
    pub fn remembering(most: usize) -> Result<Self, Error> {
        Ok(Self(Mutex::new(State {
            current: Seen::new()?,
            previous: None,
            since: Instant::now(),
            most,
        })))
    }

    /// The window for new requests.
    pub fn current(&self, now: Instant) -> Result<Window, Error> {
        Ok(self.state(now)?.current.window)
    }

    /// Whether requests of this window are still taken; asked before the work of opening one.
    pub fn has(&self, now: Instant, window: Window) -> Result<bool, Error> {
        Ok(self.state(now)?.seen(window).is_some())
    }

    /// Takes a request that was opened, by what no other has: its `enc`.
    pub fn take(
        &self,
        now: Instant,
        window: Window,
        enc: [u8; 32],
    ) -> Result<Result<(), Unfit>, Error> {
        let mut state = self.state(now)?;
        let most = state.most;
        let Some(seen) = state.seen(window) else {
            return Ok(Err(Unfit::Window));
        };
        if seen.requests.contains(&enc) {
            return Ok(Err(Unfit::Replay));
        }
        if seen.requests.len() >= most {
            return Ok(Err(Unfit::Full));
        }
        seen.requests.insert(enc);
        Ok(Ok(()))
    }

    fn state(&self, now: Instant) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now.saturating_duration_since(state.since);
        if age >= LASTS {
            let old = std::mem::replace(&mut state.current, Seen::new()?);
            // If nobody came in the meantime it would have been replaced twice.
            state.previous = (age < 2 * LASTS).then_some(old);
            state.since = now;
        }
        Ok(state)
    }
}

impl State {
    fn seen(&mut self, window: Window) -> Option<&mut Seen> {
        let both = std::iter::once(&mut self.current).chain(&mut self.previous);
        both.into_iter().find(|seen| seen.window == window)
    }
}

impl Seen {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            window: Window::random()?,
            requests: HashSet::new(),
        })
    }
}

const LASTS: Duration = Duration::from_secs(600);
/// Requests in a window: about 20 MB, and more than 400 a second.
const MOST_REQUESTS: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_in_its_window_and_the_next() {
        let windows = Windows::new().unwrap();
        let start = Instant::now();
        let first = windows.current(start).unwrap();
        assert_eq!(first.to_string().parse::<Window>().unwrap(), first);
        assert_eq!(windows.take(start, first, [1; 32]).unwrap(), Ok(()));
        assert_eq!(
            windows.take(start, first, [1; 32]).unwrap(),
            Err(Unfit::Replay)
        );
        assert_eq!(windows.take(start, first, [2; 32]).unwrap(), Ok(()));
        let later = start + LASTS;
        let second = windows.current(later).unwrap();
        assert_ne!(first, second);
        assert_eq!(
            windows.take(later, first, [1; 32]).unwrap(),
            Err(Unfit::Replay)
        );
        assert_eq!(windows.take(later, first, [3; 32]).unwrap(), Ok(()));
        assert_eq!(windows.take(later, second, [1; 32]).unwrap(), Ok(()));
        let latest = later + LASTS;
        assert!(!windows.has(latest, first).unwrap() && windows.has(latest, second).unwrap());
        assert_eq!(
            windows.take(latest, first, [4; 32]).unwrap(),
            Err(Unfit::Window)
        );
    }

    #[test]
    fn a_host_that_nobody_asked_for_long_takes_nothing_old() {
        let windows = Windows::new().unwrap();
        let start = Instant::now();
        let first = windows.current(start).unwrap();
        assert!(!windows.has(start + 2 * LASTS, first).unwrap());
    }

    #[test]
    fn another_host_takes_nothing_and_a_full_one_neither() {
        let (one, other) = (Windows::remembering(2).unwrap(), Windows::new().unwrap());
        let now = Instant::now();
        let window = one.current(now).unwrap();
        assert_eq!(
            other.take(now, window, [0; 32]).unwrap(),
            Err(Unfit::Window)
        );
        for enc in 0..2 {
            assert_eq!(one.take(now, window, [enc; 32]).unwrap(), Ok(()));
        }
        assert_eq!(one.take(now, window, [2; 32]).unwrap(), Err(Unfit::Full));
        assert_eq!(one.take(now, window, [1; 32]).unwrap(), Err(Unfit::Replay));
    }
}
