//! Peak memory of one measurement among several of a process.

/// Gives freed memory back and lets the system count the peak anew; where it cannot, the peak is that
/// of the process so far.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn forget_peak() {
    // SAFETY: malloc_trim only gives back pages that are free.
    unsafe {
        libc::malloc_trim(0);
    }
    // 5 resets the peak; see proc_pid_clear_refs(5).
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!("the peak of memory is that of the whole process: {error}");
    }
}

/// Gives freed memory back and lets the system count the peak anew; where it cannot, the peak is that
/// of the process so far.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn forget_peak() {}
