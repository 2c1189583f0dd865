//! What the commands that train have in common.

mod args;
mod closing;
mod launch;
pub mod processes;
mod signals;

pub use self::args::RunArgs;
pub use self::closing::Closing;
pub use self::launch::{Training, launch};
