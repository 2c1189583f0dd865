//! What happens when a mapped file is cut off by another process.
//!
//! The system then sends the signal SIGBUS to whoever reads beyond the new end, which by default
//! ends the process without a word. No reader can prevent it; [`report_shrunk_maps`] says which
//! file it was and ends the process with exit code 1.

use std::path::Path;
use std::sync::Mutex;

/// The files that are mapped.
static MAPS: Mutex<Vec<Mapped>> = Mutex::new(Vec::new());

struct Mapped {
    start: usize,
    length: usize,
    /// The file, printable.
    name: Box<str>,
}

/// An entry of the list of mapped files, which it leaves when it is dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    start: usize,
}

impl Registration {
    /// Enters the map of `path` at these bytes.
    pub(crate) fn new(bytes: &[u8], path: &Path) -> Self {
        let start = bytes.as_ptr() as usize;
        let name = path.display().to_string();
        let name = name.chars().flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        });
        let mapped = Mapped {
            start,
            length: bytes.len(),
            name: name.collect::<String>().into(),
        };
        // A list that a panic interrupted is still a list.
        MAPS.lock()
            .unwrap_or_else(|lock| lock.into_inner())
            .push(mapped);
        Self { start }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut maps = MAPS.lock().unwrap_or_else(|lock| lock.into_inner());
        if let Some(at) = maps.iter().position(|map| map.start == self.start) {
            maps.swap_remove(at);
        }
    }
}

/// Ends the process with a message and exit code 1, instead of by a signal without a word, when a
/// mapped file turns out to be shorter than it was. For programs, at their start; it does nothing
/// where there is no such signal.
pub fn report_shrunk_maps() {
    #[cfg(unix)]
    unix::install();
}

#[cfg(unix)]
mod unix {
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::OnceLock;

    use super::MAPS;

    const REASON: &str = " has become shorter while it was mapped (SIGBUS); put the whole file \
                          back. What was saved before is complete, and a run resumes from it.\n";

    /// What a signal that is not about one of our maps does.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

    /// The terminal as it was, if there is one.
    static TERMINAL: OnceLock<libc::termios> = OnceLock::new();

    pub(super) fn install() {
        if let Some(terminal) = terminal() {
            TERMINAL.get_or_init(|| terminal);
        }
        // SAFETY: the structures are plain data that the calls fill or read; the handler calls
        // nothing but functions that are safe in one.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            let mut before: libc::sigaction = MaybeUninit::zeroed().assume_init();
            if BEFORE.get().is_none()
                && libc::sigaction(libc::SIGBUS, &raw const action, &raw mut before) == 0
            {
                BEFORE.get_or_init(|| before);
            }
        }
    }

    fn terminal() -> Option<libc::termios> {
        let mut terminal = MaybeUninit::uninit();
        // SAFETY: it is filled if the call succeeds.
        match unsafe { libc::tcgetattr(libc::STDERR_FILENO, terminal.as_mut_ptr()) } {
            0 => Some(unsafe { terminal.assume_init() }),
            _ => None,
        }
    }

    extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the system hands over a valid structure.
        let address = unsafe { (*info).si_addr() } as usize;
        // No allocation and no waiting: another thread may hold the lock, in which case the file
        // is not named.
        let maps = MAPS.try_lock();
        let found = maps.as_ref().ok().map(|maps| {
            let mut maps = maps.iter();
            maps.find(|map| (map.start..map.start + map.length).contains(&address))
        });
        if let Some(None) = found {
            // None of ours: what happened before happens again, when the read is repeated.
            // SAFETY: it is what the system gave.
            unsafe {
                match BEFORE.get() {
                    Some(before) => libc::sigaction(signal, before, ptr::null_mut()),
                    None => libc::signal(signal, libc::SIG_DFL) as i32,
                };
            }
            return;
        }
        restore_terminal();
        let name = found.flatten().map_or("a file", |map| &map.name);
        for part in ["error: ", name, REASON] {
            write(part);
        }
        // SAFETY: no destructor may run in a handler.
        unsafe { libc::_exit(1) }
    }

    /// Leaves the screen of a dashboard.
    fn restore_terminal() {
        if let (Some(before), Some(now)) = (TERMINAL.get(), terminal())
            && before.c_lflag != now.c_lflag
        {
            write("\x1b[?1049l\x1b[?25h");
            // SAFETY: it is what the system gave.
            unsafe { libc::tcsetattr(libc::STDERR_FILENO, libc::TCSANOW, before) };
        }
    }

    fn write(text: &str) {
        // SAFETY: the bytes are valid; there is nobody to tell of a failure.
        let _ = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    }
}
