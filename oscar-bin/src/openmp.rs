//! Makes LibTorch's threads sleep between its operations.
//!
//! By default they spin for milliseconds while they wait for the next operation. Meanwhile the steps
//! between two matrix products run on threads of this program, which compete for the same cores: on
//! two cores a bf16 step took 10 % longer, captions 50 %. The OpenMP library reads the spin count from
//! an environment variable when it is loaded, which is before `main`.

/// Spins before a thread sleeps: some tens of microseconds.
#[cfg(all(feature = "tch", target_os = "linux"))]
const SPINS: &str = "5000";

/// Restarts this program with [`SPINS`], unless the environment already sets how to wait.
#[cfg(all(feature = "tch", target_os = "linux"))]
pub fn sleep_between_operations() {
    use std::os::unix::process::CommandExt;

    const VARIABLE: &str = "GOMP_SPINCOUNT";
    let is_set = [VARIABLE, "OMP_WAIT_POLICY"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some());
    if is_set {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut arguments = std::env::args_os();
    let mut again = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Returns only if it fails; then this process continues with the default.
    let _ = again.args(arguments).env(VARIABLE, SPINS).exec();
}

/// Without LibTorch there are no such threads; other systems have another OpenMP library.
#[cfg(not(all(feature = "tch", target_os = "linux")))]
pub fn sleep_between_operations() {}
