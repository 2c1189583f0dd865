//! Makes LibTorch's threads rest between its operations.
//!
//! They wait for the next operation by asking for it again and again, for milliseconds. Meanwhile the
//! steps between two products run on threads of this program, which then want the same cores: on two
//! cores a bf16 step took a tenth longer, captions half as long again. How long they wait is an
//! environment variable that the OpenMP library reads when it is loaded, which is before `main`.

/// Asks before they sleep: some tens of microseconds.
#[cfg(all(feature = "tch", target_os = "linux"))]
const ASKS: &str = "5000";

/// Starts this program again with [`ASKS`], unless the environment says how to wait.
#[cfg(all(feature = "tch", target_os = "linux"))]
pub fn rest_between_operations() {
    use std::os::unix::process::CommandExt;

    const VARIABLE: &str = "GOMP_SPINCOUNT";
    let said = [VARIABLE, "OMP_WAIT_POLICY"]
        .into_iter()
        .any(|name| std::env::var_os(name).is_some());
    if said {
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
    // Does not return but if it fails, and then this process goes on as it is.
    let _ = again.args(arguments).env(VARIABLE, ASKS).exec();
}

/// Without LibTorch there are no such threads; elsewhere its OpenMP is another.
#[cfg(not(all(feature = "tch", target_os = "linux")))]
pub fn rest_between_operations() {}
