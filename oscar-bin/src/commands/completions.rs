//! `oscar-bin completions`: completions for a shell.

use std::io::Write;

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::ending::Ending;
use crate::output;

/// Prints a script that lets a shell complete commands and flags.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin completions bash > ~/.local/share/bash-completion/completions/oscar-bin\n  \
    oscar-bin completions fish > ~/.config/fish/completions/oscar-bin.fish")]
pub struct CompletionsArgs {
    /// Shell to generate completions for
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints completions.
///
/// # Errors
/// If they cannot be printed.
pub fn run(args: &CompletionsArgs, mut command: Command) -> Result<Ending> {
    // In memory first, because clap_complete panics if the pipe is closed.
    let mut text = Vec::new();
    let name = command.get_name().to_string();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    output::stdout().write_all(&text)?;
    Ok(Ending::Done)
}
