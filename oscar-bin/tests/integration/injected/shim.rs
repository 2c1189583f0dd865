//! A library to preload into the program: it stands before the C library's calls that write to a
//! disk, counts those below one directory, and lets the n-th go wrong. The program needs no seam for
//! it, and what the standard library or a dependency writes is counted as well.
//!
//! | variable | says |
//! |---|---|
//! | `FAULT_BELOW` | the directory; calls elsewhere pass |
//! | `FAULT_LOG` | a file outside it, to which each call is appended: its number, kind and path |
//! | `FAULT_MODE` | `none`, `once` (the call fails), `on` (it and all later ones fail), `crash` (the machine loses power before it) |
//! | `FAULT_AT` | the number of the call |
//!
//! A full disk is what each call reports but a sync, which reports an error of the device. A crash loses what was written since the file's last sync, the worst that POSIX allows, and keeps
//! every name: a file that got its name before its content was synced is found empty.

#![allow(unused_unsafe, reason = "a macro with unsafe inside is used in unsafe blocks as well")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::{Mutex, OnceLock};

type Ssize = isize;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn readlink(path: *const c_char, buffer: *mut c_char, size: usize) -> Ssize;
    fn getenv(name: *const c_char) -> *const c_char;
    fn dup(fd: c_int) -> c_int;
    fn close(fd: c_int) -> c_int;
    fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64;
    fn _exit(code: c_int) -> !;
    fn __errno_location() -> *mut c_int;
    fn getcwd(buffer: *mut c_char, size: usize) -> *mut c_char;
    fn access(path: *const c_char, mode: c_int) -> c_int;
}

const NEXT: *mut c_void = -1isize as *mut c_void;
const ENOSPC: c_int = 28;
const EIO: c_int = 5;
const O_CREAT: c_int = 0o100;
const O_TRUNC: c_int = 0o1000;
const O_ACCMODE: c_int = 3;

/// The next function of this name: that of the C library.
macro_rules! real {
    ($name:ident: fn($($kind:ty),*) -> $result:ty) => {{
        static REAL: OnceLock<usize> = OnceLock::new();
        let address = *REAL.get_or_init(|| {
            let name = concat!(stringify!($name), "\0");
            // SAFETY: the name ends with a zero byte.
            unsafe { dlsym(NEXT, name.as_ptr().cast()) as usize }
        });
        // SAFETY: this is the C library's function, of which the signature is known.
        unsafe { std::mem::transmute::<usize, unsafe extern "C" fn($($kind),*) -> $result>(address) }
    }};
}

struct Plan {
    below: String,
    log: CString,
    mode: String,
    at: u64,
}

/// A file with content that is not synced: a descriptor of our own, and its length at the last sync.
struct Unsynced {
    path: String,
    descriptor: c_int,
    synced: i64,
}

#[derive(Default)]
struct Seen {
    calls: u64,
    unsynced: Vec<Unsynced>,
}

static SEEN: Mutex<Seen> = Mutex::new(Seen { calls: 0, unsynced: Vec::new() });

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let variable = |name: &CStr| {
        // SAFETY: nothing changes the environment of the program.
        let value = unsafe { getenv(name.as_ptr()) };
        // SAFETY: a variable ends with a zero byte.
        (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned())
    };
    PLAN.get_or_init(|| {
        Some(Plan {
            below: variable(c"FAULT_BELOW")? + "/",
            log: CString::new(variable(c"FAULT_LOG")?).ok()?,
            mode: variable(c"FAULT_MODE")?,
            at: variable(c"FAULT_AT")?.parse().ok()?,
        })
    })
    .as_ref()
}

fn set_errno(value: c_int) {
    // SAFETY: the address of this thread's errno.
    unsafe { *__errno_location() = value };
}

/// The path of an open file, if it is one.
fn path_of(descriptor: c_int) -> Option<String> {
    let link = CString::new(format!("/proc/self/fd/{descriptor}")).ok()?;
    let mut buffer = [0u8; 4096];
    // SAFETY: the buffer has the size that is said.
    let length = unsafe { readlink(link.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let path = buffer.get(..usize::try_from(length).ok()?)?;
    Some(String::from_utf8_lossy(path).into_owned())
}

/// A path that was given to a call, absolute.
fn absolute(path: *const c_char) -> String {
    // SAFETY: the callers pass what they were given as a path.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned();
    if path.starts_with('/') {
        return path;
    }
    let mut buffer = [0u8; 4096];
    // SAFETY: the buffer has the size that is said.
    unsafe { getcwd(buffer.as_mut_ptr().cast(), buffer.len()) };
    let end = buffer.iter().position(|&byte| byte == 0).unwrap_or(0);
    format!("{}/{path}", String::from_utf8_lossy(&buffer[..end]))
}

/// Counts a call below the directory; whether it is to fail.
fn fails(kind: &str, path: &str) -> bool {
    let Some(plan) = plan() else { return false };
    if !path.starts_with(&plan.below) {
        return false;
    }
    let mut seen = SEEN.lock().unwrap_or_else(|held| held.into_inner());
    seen.calls += 1;
    let number = seen.calls;
    append(&plan.log, &format!("{number} {kind} {path}\n"));
    let fails = match plan.mode.as_str() {
        "once" => number == plan.at,
        "on" => number >= plan.at,
        "crash" if number == plan.at => crash(&mut seen),
        _ => false,
    };
    if fails {
        set_errno(if kind == "sync" { EIO } else { ENOSPC });
    }
    fails
}

fn append(log: &CStr, line: &str) {
    let open = real!(open64: fn(*const c_char, c_int, c_int) -> c_int);
    let write = real!(write: fn(c_int, *const c_void, usize) -> Ssize);
    const APPEND: c_int = 0o2000 | O_CREAT | 1;
    // SAFETY: a path and a buffer of the length that is said.
    unsafe {
        let file = open(log.as_ptr(), APPEND, 0o600);
        write(file, line.as_ptr().cast(), line.len());
        close(file);
    }
}

fn crash(seen: &mut Seen) -> bool {
    let truncate = real!(ftruncate64: fn(c_int, i64) -> c_int);
    for file in &seen.unsynced {
        // SAFETY: a descriptor that is kept open for this.
        unsafe { truncate(file.descriptor, file.synced) };
    }
    // SAFETY: ends the process, as a loss of power does: nothing is run or written any more.
    unsafe { _exit(137) }
}

/// Remembers that a file has content that is not synced.
fn written(descriptor: c_int, path: &str, synced: i64) {
    let Some(plan) = plan() else { return };
    if plan.mode != "crash" || !path.starts_with(&plan.below) {
        return;
    }
    let mut seen = SEEN.lock().unwrap_or_else(|held| held.into_inner());
    if seen.unsynced.iter().all(|file| file.path != path) {
        // SAFETY: a descriptor that is open.
        let descriptor = unsafe { dup(descriptor) };
        seen.unsynced.push(Unsynced { path: path.into(), descriptor, synced });
    }
}

fn synced(path: &str) {
    let mut seen = SEEN.lock().unwrap_or_else(|held| held.into_inner());
    seen.unsynced.retain(|file| {
        if file.path == path {
            // SAFETY: our own descriptor.
            unsafe { close(file.descriptor) };
        }
        file.path != path
    });
}

/// A rename takes the entries of what it moved with it.
fn renamed(from: &str, to: &str) {
    let mut seen = SEEN.lock().unwrap_or_else(|held| held.into_inner());
    for file in &mut seen.unsynced {
        if let Some(rest) = file.path.strip_prefix(from)
            && (rest.is_empty() || rest.starts_with('/'))
        {
            file.path = format!("{to}{rest}");
        }
    }
}

/// The length of an open file.
fn length(descriptor: c_int) -> i64 {
    // SAFETY: the position is put back.
    unsafe {
        let here = lseek(descriptor, 0, 1);
        let end = lseek(descriptor, 0, 2);
        lseek(descriptor, here, 0);
        end
    }
}

/// Before a write to `descriptor`: None if it is to fail.
fn may_write(descriptor: c_int) -> Option<()> {
    if plan().is_none() || descriptor < 3 {
        return Some(());
    }
    let Some(path) = path_of(descriptor) else { return Some(()) };
    if fails("write", &path) {
        return None;
    }
    written(descriptor, &path, length(descriptor));
    Some(())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, count: usize) -> Ssize {
    match may_write(fd) {
        Some(()) => unsafe { real!(write: fn(c_int, *const c_void, usize) -> Ssize)(fd, buffer, count) },
        None => -1,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, parts: *const c_void, count: c_int) -> Ssize {
    match may_write(fd) {
        Some(()) => unsafe { real!(writev: fn(c_int, *const c_void, c_int) -> Ssize)(fd, parts, count) },
        None => -1,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, buffer: *const c_void, count: usize, at: i64) -> Ssize {
    match may_write(fd) {
        Some(()) => unsafe {
            real!(pwrite64: fn(c_int, *const c_void, usize, i64) -> Ssize)(fd, buffer, count, at)
        },
        None => -1,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_file_range(
    from: c_int, from_at: *mut i64, to: c_int, to_at: *mut i64, count: usize, flags: u32,
) -> Ssize {
    match may_write(to) {
        Some(()) => unsafe {
            real!(copy_file_range: fn(c_int, *mut i64, c_int, *mut i64, usize, u32) -> Ssize)(
                from, from_at, to, to_at, count, flags,
            )
        },
        None => -1,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, size: i64) -> c_int {
    match path_of(fd).is_some_and(|path| fails("truncate", &path)) {
        true => -1,
        false => unsafe { real!(ftruncate64: fn(c_int, i64) -> c_int)(fd, size) },
    }
}

fn sync(fd: c_int, real: unsafe extern "C" fn(c_int) -> c_int) -> c_int {
    let path = path_of(fd).unwrap_or_default();
    if fails("sync", &path) {
        return -1;
    }
    synced(&path);
    unsafe { real(fd) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, real!(fsync: fn(c_int) -> c_int))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, real!(fdatasync: fn(c_int) -> c_int))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let (old, new) = (absolute(from), absolute(to));
    if fails("rename", &new) {
        return -1;
    }
    let result = unsafe { real!(rename: fn(*const c_char, *const c_char) -> c_int)(from, to) };
    if result == 0 {
        renamed(&old, &new);
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: u32) -> c_int {
    // A directory that is there is no write.
    // SAFETY: what the caller gave as a path.
    let there = unsafe { access(path, 0) } == 0;
    match !there && fails("mkdir", &absolute(path)) {
        true => -1,
        false => unsafe { real!(mkdir: fn(*const c_char, u32) -> c_int)(path, mode) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    let writes = flags & O_ACCMODE != 0 && flags & (O_CREAT | O_TRUNC) != 0;
    let name = absolute(path);
    if writes && fails("create", &name) {
        return -1;
    }
    let fd = unsafe { real!(open64: fn(*const c_char, c_int, c_int) -> c_int)(path, flags, mode) };
    if writes && fd >= 0 && flags & O_TRUNC != 0 {
        written(fd, &name, 0);
    }
    fd
}
