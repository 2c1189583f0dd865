//! Keeps freed memory for the next step.
//!
//! A training step frees what the next one allocates again. By default glibc returns large blocks to
//! the system immediately, and the system clears each page when it is used again: 20 % of the time of a
//! small model's step on the CPU. Only commands that run many batches do this: a long-lived process
//! with other work should return its memory.

/// Makes glibc take large blocks from its heap and keep the heap when it is free.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed_memory() {
    const ALL: libc::c_int = -1;
    const GROW: libc::c_int = 64 << 20;
    // SAFETY: mallopt only sets numbers of the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, ALL);
        libc::mallopt(libc::M_TOP_PAD, GROW);
    }
}

/// Other allocators keep freed memory by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}
