use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

/// A thread that brings what was written of a file to the disk while more of it is made. The system would begin when much of
/// its memory is full, and otherwise leave everything to the last flush.
#[derive(Debug)]
pub(super) struct Flusher {
    file: Arc<File>,
    written: AtomicU64,
    /// Started when there is enough to do; `None` if the system has no thread to give.
    helper: OnceLock<Option<Helper>>,
}

#[derive(Debug)]
struct Helper {
    wake: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Flusher {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            written: AtomicU64::new(0),
            helper: OnceLock::new(),
        }
    }

    /// Says that so many more bytes were written.
    pub(super) fn wrote(&self, bytes: u64) {
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before / STEP == (before + bytes) / STEP {
            return;
        }
        let start = || Helper::start(self.file.clone()).ok();
        if let Some(helper) = self.helper.get_or_init(start) {
            // A full channel: it has not begun yet, and will find these bytes too.
            let _ = helper.wake.try_send(());
        }
    }

    /// Waits for the thread, and then for all that is not on the disk yet.
    ///
    /// # Errors
    /// What any flush met: the system tells of a failed write only once.
    pub(super) fn finish(self) -> io::Result<()> {
        if let Some(Helper { wake, thread }) = self.helper.into_inner().flatten() {
            drop(wake);
            let died = |_| Err(io::Error::other("the thread that flushes panicked"));
            thread.join().unwrap_or_else(died)?;
        }
        self.file.sync_all()
    }
}

impl Helper {
    fn start(file: Arc<File>) -> io::Result<Self> {
        let (wake, woken): (SyncSender<()>, Receiver<()>) = sync_channel(1);
        let flush = move || woken.iter().try_for_each(|()| file.sync_data());
        let thread = Builder::new().name("flush".to_owned()).spawn(flush)?;
        Ok(Self { wake, thread })
    }
}

/// Bytes from one flush to the next.
const STEP: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn it_helps_once_there_is_enough_and_ends() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        let file = Arc::new(File::create_new(&path).unwrap());
        let flusher = Flusher::new(file.clone());
        flusher.wrote(STEP - 1);
        assert!(flusher.helper.get().is_none());
        file.write_all_at(b"1", 0).unwrap();
        flusher.wrote(1);
        assert!(flusher.helper.get().unwrap().is_some());
        (0..100).for_each(|_| flusher.wrote(STEP));
        flusher.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"1");
    }

    /// Nothing of a device like this can be flushed.
    #[test]
    fn what_the_thread_met_is_told() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let file = Arc::new(File::from(std::os::fd::OwnedFd::from(writer)));
        let flusher = Flusher::new(file);
        flusher.wrote(STEP);
        assert!(flusher.finish().is_err());
    }
}
