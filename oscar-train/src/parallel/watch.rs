//! A limit for a wait that nothing else can end.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Calls a function if it still exists when its time is over.
///
/// Devices that sum among themselves wait for each other for ever, and so does the thread that reads
/// from one of them: if one has failed, only another thread can notice.
pub(crate) struct Watch {
    /// What ends with it ends the watch.
    _alive: Sender<()>,
}

impl Watch {
    /// A watch that calls `late` after `limit`.
    pub fn start(limit: Duration, late: impl FnOnce() + Send + 'static) -> Self {
        let (alive, end) = channel();
        std::thread::spawn(move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                late();
            }
        });
        Self { _alive: alive }
    }
}

/// Ends the process, since its devices did not finish within `limit`; what was saved stays.
pub(crate) fn give_up_devices(limit: Duration) {
    crate::terminal::release_terminal();
    tracing::error!(
        "the devices did not finish the sums of their gradients within {} seconds \
         (train.peer_timeout_seconds for each step): one of them has failed. The run ends, and can be resumed \
         from its newest checkpoint",
        limit.as_secs_f64()
    );
    std::process::exit(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_takes_too_long_is_noticed() {
        let (sender, late) = channel();
        let watch = Watch::start(Duration::from_millis(1), move || {
            sender.send(()).expect("a receiver");
        });
        late.recv_timeout(Duration::from_secs(60)).expect("noticed");
        drop(watch);
    }

    #[test]
    fn a_wait_that_ends_in_time_is_not() {
        let (sender, late) = channel();
        drop(Watch::start(Duration::from_secs(60), move || {
            sender.send(()).expect("a receiver");
        }));
        // The thread drops the sender without having sent.
        late.recv_timeout(Duration::from_secs(30))
            .expect_err("not late");
    }
}
