//! What happens when a file would become larger than the process may write (`ulimit -f`).

/// Lets such a write fail as on a full disk, with an error that names the file, instead of the system
/// ending the process by SIGXFSZ without a word. For programs, at their start; it does nothing where
/// there is no such signal.
pub fn report_file_size_limit() {
    #[cfg(unix)]
    // SAFETY: no handler runs; the write that goes beyond the limit returns EFBIG.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
