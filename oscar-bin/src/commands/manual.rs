//! `oscar-bin manual`: manual pages.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};
use clap_mangen::Man;
use oscar_files::write_file;

use crate::ending::Ending;
use crate::output;

/// Prints the manual page of the program, or writes one for it and for each of its commands.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    oscar-bin manual | man -l -\n  \
    oscar-bin manual ~/.local/share/man/man1")]
pub struct ManualArgs {
    /// Directory for the pages [default: print the page of the program]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Prints a page, or writes them all.
///
/// # Errors
/// If a page cannot be written.
pub fn run(args: &ManualArgs, command: Command) -> Result<Ending> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut out = output::stdout();
    let Some(directory) = &args.directory else {
        Man::new(command).render(&mut out)?;
        return Ok(Ending::Done);
    };
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let mut commands = vec![command];
    while let Some(command) = commands.pop() {
        let subcommands = command.get_subcommands();
        commands.extend(
            subcommands
                .filter(|command| !command.is_hide_set())
                .cloned(),
        );
        let page = Man::new(command);
        let mut text = Vec::new();
        page.render(&mut text)?;
        let path = directory.join(page.get_filename());
        write_file(&path, &text)?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(Ending::Done)
}
