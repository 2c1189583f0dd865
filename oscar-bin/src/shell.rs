//! `oscar-bin completions` and `oscar-bin manual`: what a shell and `man` know of the program.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use oscar_train::write_file;

use crate::Ending;
use crate::cli::Cli;

/// Prints what lets a shell complete commands and flags.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin completions bash > ~/.local/share/bash-completion/completions/oscar-bin\n  \
    oscar-bin completions fish > ~/.config/fish/completions/oscar-bin.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the manual page of the program, or writes one for it and for each of its commands.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin manual | man -l -\n  \
    oscar-bin manual ~/.local/share/man/man1")]
pub struct ManualArgs {
    /// Where the pages are written; without it the program's is printed
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Prints completions.
pub fn completions(args: &CompletionsArgs) -> Result<Ending> {
    // In memory first: a pipe that is closed is a panic there.
    let mut text = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_string();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(Ending::Done)
}

/// Prints a page, or writes them all.
pub fn manual(args: &ManualArgs) -> Result<Ending> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut out = std::io::stdout().lock();
    let Some(directory) = &args.directory else {
        Man::new(command).render(&mut out)?;
        return Ok(Ending::Done);
    };
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().cloned());
        let page = Man::new(command);
        let mut text = Vec::new();
        page.render(&mut text)?;
        let path = directory.join(page.get_filename());
        write_file(&path, &text)?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(Ending::Done)
}
