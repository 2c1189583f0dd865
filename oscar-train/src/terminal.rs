//! The terminal under the dashboard: its keys, its state, and the thread that draws on it.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Terminal attributes, which [`release_terminal`] restores.
#[cfg(unix)]
type Attributes = rustix::termios::Termios;
#[cfg(not(unix))]
type Attributes = ();

/// The attributes from before the dashboard, while it has the terminal.
static BEFORE: Mutex<Option<Attributes>> = Mutex::new(None);

/// Longest wait for the dashboard's thread to take the terminal.
const PATIENCE: Duration = Duration::from_secs(2);

/// Leaves the dashboard's screen and gives the terminal back as it was, before the program ends
/// at once. Does nothing while there is no dashboard.
pub fn release_terminal() {
    let Some(before) = lock(&BEFORE).take() else {
        return;
    };
    imp::set(&before);
    // Leave the alternate screen, show the cursor.
    let _ = std::io::stdout().write_all(b"\x1b[?1049l\x1b[?25h");
    let _ = std::io::stdout().flush();
}

/// While it exists, [`release_terminal`] restores the attributes of its creation.
pub(crate) struct Remembered;

impl Remembered {
    /// Reads the attributes, before the dashboard takes the terminal.
    pub fn now() -> Self {
        *lock(&BEFORE) = imp::get();
        Self
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        lock(&BEFORE).take();
    }
}

/// Makes the interrupt key send its signal again, once the dashboard has made it a plain key.
pub(crate) fn keep_interrupt_key() {
    if lock(&BEFORE).is_none() {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < PATIENCE && !imp::is_raw() {
        std::thread::sleep(Duration::from_millis(2));
    }
    imp::enable_interrupt_key();
}

/// Runs `start` so that the threads it starts have a low priority, where threads have one.
pub(crate) fn at_low_priority<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            imp::lower_priority();
            start()
        });
        match starter.join() {
            Ok(started) => started,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The dashboard's "stop immediately" panics in its thread; for the user that is an interrupt, not
/// an error. The dashboard's own hook, which runs first, restores the terminal.
pub(crate) fn exit_when_killed() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() == Some("Killing training from user input.") {
            let text = "stopped immediately; resume from the last checkpoint";
            let _ = writeln!(std::io::stderr(), "{text}");
            std::process::exit(130);
        }
        previous(panic);
    }));
}

#[cfg(unix)]
mod imp {
    use std::fs::File;
    use std::io::IsTerminal;
    use std::os::fd::{AsFd, BorrowedFd};

    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };

    /// Calls `with` with the terminal that keys come from.
    fn on_terminal<T>(with: impl FnOnce(BorrowedFd<'_>) -> Option<T>) -> Option<T> {
        let stdin = std::io::stdin();
        match stdin.is_terminal() {
            true => with(stdin.as_fd()),
            false => with(File::open("/dev/tty").ok()?.as_fd()),
        }
    }

    pub fn get() -> Option<Termios> {
        on_terminal(|terminal| tcgetattr(terminal).ok())
    }

    pub fn set(attributes: &Termios) {
        on_terminal(|terminal| tcsetattr(terminal, OptionalActions::Now, attributes).ok());
    }

    pub fn is_raw() -> bool {
        get().is_some_and(|now| !now.local_modes.contains(LocalModes::ICANON))
    }

    pub fn enable_interrupt_key() {
        let Some(mut now) = get() else { return };
        now.local_modes.insert(LocalModes::ISIG);
        // Suspending or quitting would leave the shell with the dashboard's screen.
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            now.special_codes[key] = 0;
        }
        set(&now);
    }

    /// A thread's priority is inherited by the threads it starts, on Linux; elsewhere it is the
    /// whole process's.
    pub fn lower_priority() {
        #[cfg(target_os = "linux")]
        let _ = rustix::process::setpriority_process(None, 19);
    }
}

#[cfg(not(unix))]
mod imp {
    pub fn get() -> Option<()> {
        None
    }

    pub fn set(_: &()) {}

    pub fn is_raw() -> bool {
        true
    }

    pub fn enable_interrupt_key() {}

    pub fn lower_priority() {}
}
