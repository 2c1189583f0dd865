//! What the commands that train have in common.

mod args;
mod estimate;
mod launch;
pub mod processes;
mod results;
mod signals;
mod start;
pub mod sweep;

pub use self::args::RunArgs;
pub use self::estimate::total_memory;
pub use self::launch::{Training, check, launch};
pub use self::results::Results;
