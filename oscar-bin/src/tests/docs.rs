//! Every command that a document shows is one that the program accepts.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::Cli;
use crate::config::Recipe;

/// A command in a document, and where it is.
struct Shown {
    place: String,
    words: Vec<String>,
    /// Written inside a sentence, where required arguments may be left out.
    inline: bool,
}

#[test]
fn every_command_in_the_documents_is_accepted() {
    let mut commands = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        commands.extend(shown(&path, &text));
    }
    assert!(
        commands.len() > 40,
        "only {} commands found",
        commands.len()
    );
    let refused: Vec<String> = commands.iter().filter_map(refusal).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn a_wrong_command_is_found() {
    let text = "```\n$ oscar-bin train --nmae x   # a typo\n```\nand `oscar-bin report a --nothing`\n\
                and `oscar-bin train --config no-such`, but not `oscar-bin dev …`.\n";
    let commands = shown(Path::new("a.md"), text);
    let refused: Vec<String> = commands.iter().filter_map(refusal).collect();
    assert_eq!((commands.len(), refused.len()), (3, 3), "{refused:?}");
    assert!(refused[0].starts_with("a.md:2"), "{refused:?}");
}

/// The documents of the repository.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for dir in ["", "docs", "config", "datasets/sample", "benches", "tests"] {
        let entries = fs::read_dir(root.join(dir)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    found.sort();
    assert!(found.len() > 10, "{found:?}");
    found
}

/// The commands of a text: lines of fenced blocks, continued after `\`, and code inside sentences.
/// Those with a placeholder for the reader to fill in (`…`) are left out.
fn shown(path: &Path, text: &str) -> Vec<Shown> {
    let mut found = Vec::new();
    let (mut fenced, mut open) = (false, None::<(usize, String)>);
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if !fenced {
            let inline = line.split('`').skip(1).step_by(2);
            found.extend(inline.filter_map(|code| command(path, index + 1, code, true)));
            continue;
        }
        let (first, mut code) = open.take().unwrap_or((index + 1, String::new()));
        match line.strip_suffix('\\') {
            Some(start) => {
                code.push_str(start);
                open = Some((first, code));
            }
            None => {
                code.push_str(line);
                found.extend(command(path, first, &code, false));
            }
        }
    }
    found
}

/// The arguments of `oscar-bin` in a line of a shell, if it runs it.
fn command(path: &Path, line: usize, code: &str, inline: bool) -> Option<Shown> {
    let code = code.trim_start().trim_start_matches("$ ");
    let code = code.split(" #").next()?;
    let place = format!("{}:{line}: {code}", path.display());
    if code.contains(['…', '[', '<', '→']) {
        return None;
    }
    let words = shlex::split(code)?;
    let own = words.iter().position(|word| word == "oscar-bin")?;
    let before = &words[..own];
    // `cargo run --bin oscar-bin -- train`, `mpirun -np 2 oscar-bin train`, `NAME=value oscar-bin`.
    let mut words = words[own..].to_vec();
    match before.first().map(String::as_str) {
        Some("cargo") => {
            (words.get(1)? == "--").then(|| words.remove(1))?;
        }
        Some("mpirun") | None => {}
        Some(_) if before.iter().all(|word| word.contains('=')) => {}
        Some(_) => return None,
    }
    let end = words
        .iter()
        .position(|word| [">", "|", ">>", "&&"].contains(&word.as_str()));
    words.truncate(end.unwrap_or(words.len()));
    Some(Shown {
        place,
        words,
        inline,
    })
}

/// Why the program would refuse a command.
fn refusal(shown: &Shown) -> Option<String> {
    if let Err(error) = Cli::try_parse_from(&shown.words) {
        // A backend that this build leaves out is refused by its name alone.
        let backend = shown.words.windows(2).any(|pair| {
            pair[0] == "--backend" && ["cuda", "tch", "wgpu"].contains(&pair[1].as_str())
        });
        let left_out = backend && error.kind() == ErrorKind::InvalidValue;
        let partial = shown.inline
            && matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
        let help = matches!(
            error.kind(),
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
        );
        if !partial && !help && !left_out {
            return Some(format!("{}\n  {error}", shown.place));
        }
    }
    let config = shown.words.iter().position(|word| word == "--config")?;
    let name = shown.words.get(config + 1)?;
    let known = name.ends_with(".toml") || Recipe::find(name).is_some();
    (!known).then(|| format!("{}\n  no recipe is called {name}", shown.place))
}
